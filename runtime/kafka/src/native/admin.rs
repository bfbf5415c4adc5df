//! Requests to the cluster. All of them block until the answer is there or the time is over.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::os::raw::c_char;
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as Op;
use towpath_core::ports::{GroupMember, NewTopic};
use towpath_sdk::record::TopicPartition;

use super::{Alive, PartitionReply, describe_code, millis, read_list};

/// A request that was refused or not answered.
#[derive(Debug, Clone)]
pub(crate) struct AdminError {
    /// librdkafka's code.
    pub(crate) code: i32,
    /// Its text.
    pub(crate) text: String,
}

/// One answer per request.
pub(crate) type AdminResult<T> = Result<T, AdminError>;

impl AdminError {
    fn of(code: i32) -> Self {
        Self { code, text: describe_code(code) }
    }
}

/// Creates a topic.
pub(crate) fn create_topic(
    client: &dyn Alive,
    topic: &NewTopic,
    timeout: Duration,
) -> AdminResult<()> {
    let name = c_string(&topic.name)?;
    let mut text = [0; 512];
    // SAFETY: the strings outlive the calls, which copy them; the topic is destroyed below, after the
    // request copied it.
    let new = NonNull::new(unsafe {
        sys::rd_kafka_NewTopic_new(
            name.as_ptr(),
            topic.partitions.unwrap_or(-1),
            topic.replication_factor.map_or(-1, i32::from),
            text.as_mut_ptr(),
            text.len(),
        )
    })
    // SAFETY: librdkafka ended the text with NUL.
    .ok_or_else(|| AdminError { code: INVALID, text: unsafe { read_text(text.as_ptr()) } })?;
    let new = Owned(new.as_ptr(), sys::rd_kafka_NewTopic_destroy);
    for (key, value) in &topic.config {
        let (key, value) = (c_string(key)?, c_string(value)?);
        // SAFETY: as above.
        let code =
            unsafe { sys::rd_kafka_NewTopic_set_config(new.0, key.as_ptr(), value.as_ptr()) };
        if code as i32 != 0 {
            return Err(AdminError::of(code as i32));
        }
    }
    let event =
        request(client, Op::RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout, |rk, options, queue| {
            let mut list = [new.0];
            // SAFETY: all arguments are valid; the request copies the topic.
            unsafe {
                sys::rd_kafka_AdminOptions_set_operation_timeout(
                    options,
                    millis(timeout),
                    ptr::null_mut(),
                    0,
                );
                sys::rd_kafka_CreateTopics(rk, list.as_mut_ptr(), 1, options, queue);
            }
        })?;
    // SAFETY: the result belongs to the event, which lives to the end of this function.
    unsafe {
        let mut count = 0;
        let result = sys::rd_kafka_event_CreateTopics_result(event.0);
        let topics = sys::rd_kafka_CreateTopics_result_topics(result, &raw mut count);
        if count == 0 {
            return Err(AdminError::of(BAD_ANSWER));
        }
        let code = sys::rd_kafka_topic_result_error(*topics) as i32;
        if code == 0 {
            return Ok(());
        }
        let text = sys::rd_kafka_topic_result_error_string(*topics);
        Err(AdminError { code, text: read_text(text) })
    }
}

/// The settings of a topic.
pub(crate) fn topic_settings(
    client: &dyn Alive,
    topic: &str,
    timeout: Duration,
) -> AdminResult<BTreeMap<String, String>> {
    let name = c_string(topic)?;
    // SAFETY: the name outlives the call, which copies it; null (never for a topic) is checked.
    let resource = NonNull::new(unsafe {
        sys::rd_kafka_ConfigResource_new(
            sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
            name.as_ptr(),
        )
    })
    .ok_or_else(|| AdminError::of(INVALID))?;
    let resource = Owned(resource.as_ptr(), sys::rd_kafka_ConfigResource_destroy);
    let op = Op::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
    let event = request(client, op, timeout, |rk, options, queue| {
        let mut list = [resource.0];
        // SAFETY: all arguments are valid; the request copies the resource.
        unsafe { sys::rd_kafka_DescribeConfigs(rk, list.as_mut_ptr(), 1, options, queue) }
    })?;
    // SAFETY: what is read belongs to the event, which lives to the end of this function.
    unsafe {
        let mut count = 0;
        let result = sys::rd_kafka_event_DescribeConfigs_result(event.0);
        let resources = sys::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
        if count == 0 {
            return Err(AdminError::of(BAD_ANSWER));
        }
        let code = sys::rd_kafka_ConfigResource_error(*resources) as i32;
        if code != 0 {
            let text = sys::rd_kafka_ConfigResource_error_string(*resources);
            return Err(AdminError { code, text: read_text(text) });
        }
        let mut count = 0;
        let entries = sys::rd_kafka_ConfigResource_configs(*resources, &raw mut count);
        Ok((0..count)
            .map(|i| {
                let entry = *entries.add(i);
                (
                    read_text(sys::rd_kafka_ConfigEntry_name(entry)),
                    read_text(sys::rd_kafka_ConfigEntry_value(entry)),
                )
            })
            .collect())
    }
}

/// First (`false`) or end offsets (`true`) of partitions, as a read-committed reader sees them.
pub(crate) fn list_offsets(
    client: &dyn Alive,
    places: &[TopicPartition],
    ends: bool,
    timeout: Duration,
) -> AdminResult<Vec<PartitionReply>> {
    let spec = if ends { Offset::End } else { Offset::Beginning };
    let mut wanted = TopicPartitionList::new();
    for place in places {
        wanted
            .add_partition_offset(&place.topic, place.partition, spec)
            .map_err(|_| AdminError::of(INVALID))?;
    }
    let op = Op::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
    let event = request(client, op, timeout, |rk, options, queue| {
        // SAFETY: all arguments are valid; the request copies the list.
        unsafe {
            let error = sys::rd_kafka_AdminOptions_set_isolation_level(
                options,
                sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
            );
            if !error.is_null() {
                sys::rd_kafka_error_destroy(error);
            }
            sys::rd_kafka_ListOffsets(rk, wanted.ptr(), options, queue);
        }
    })?;
    // SAFETY: what is read belongs to the event, which lives to the end of this function.
    unsafe {
        let mut count = 0;
        let result = sys::rd_kafka_event_ListOffsets_result(event.0);
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        Ok((0..count)
            .map(|i| {
                let part = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(i));
                PartitionReply {
                    topic: read_text((*part).topic),
                    partition: (*part).partition,
                    offset: (*part).offset,
                    code: (&raw const (*part).err).cast::<i32>().read(),
                }
            })
            .collect())
    }
}

/// The committed offsets of a group, of all its partitions.
pub(crate) fn group_offsets(
    client: &dyn Alive,
    group: &str,
    timeout: Duration,
) -> AdminResult<Vec<PartitionReply>> {
    let group = c_string(group)?;
    // SAFETY: the name outlives the call; a null list asks for all partitions.
    let wanted = unsafe { sys::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), ptr::null()) };
    let wanted = Owned(wanted, sys::rd_kafka_ListConsumerGroupOffsets_destroy);
    let op = Op::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
    let event = request(client, op, timeout, |rk, options, queue| {
        let mut list = [wanted.0];
        // SAFETY: all arguments are valid; the request copies what was wanted.
        unsafe { sys::rd_kafka_ListConsumerGroupOffsets(rk, list.as_mut_ptr(), 1, options, queue) }
    })?;
    // SAFETY: the result belongs to the event, which lives to the end of this function.
    unsafe {
        let mut count = 0;
        let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event.0);
        let groups = sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count);
        group_result(groups, count)
    }
}

/// Sets committed offsets of a group without members.
pub(crate) fn alter_group_offsets(
    client: &dyn Alive,
    group: &str,
    offsets: &[(TopicPartition, i64)],
    timeout: Duration,
) -> AdminResult<Vec<PartitionReply>> {
    let group = c_string(group)?;
    let mut list = TopicPartitionList::new();
    for (place, offset) in offsets {
        list.add_partition_offset(&place.topic, place.partition, Offset::Offset(*offset))
            .map_err(|_| AdminError::of(INVALID))?;
    }
    // SAFETY: name and list outlive the call, which copies them.
    let change = unsafe { sys::rd_kafka_AlterConsumerGroupOffsets_new(group.as_ptr(), list.ptr()) };
    let change = Owned(change, sys::rd_kafka_AlterConsumerGroupOffsets_destroy);
    let op = Op::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS;
    let event = request(client, op, timeout, |rk, options, queue| {
        let mut list = [change.0];
        // SAFETY: all arguments are valid; the request copies the change.
        unsafe { sys::rd_kafka_AlterConsumerGroupOffsets(rk, list.as_mut_ptr(), 1, options, queue) }
    })?;
    // SAFETY: the result belongs to the event, which lives to the end of this function.
    unsafe {
        let mut count = 0;
        let result = sys::rd_kafka_event_AlterConsumerGroupOffsets_result(event.0);
        let groups = sys::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &raw mut count);
        group_result(groups, count)
    }
}

/// Forgets committed offsets of a group.
pub(crate) fn delete_group_offsets(
    client: &dyn Alive,
    group: &str,
    partitions: &[TopicPartition],
    timeout: Duration,
) -> AdminResult<Vec<PartitionReply>> {
    let group = c_string(group)?;
    let mut list = TopicPartitionList::new();
    for place in partitions {
        list.add_partition(&place.topic, place.partition);
    }
    // SAFETY: name and list outlive the call, which copies them.
    let change =
        unsafe { sys::rd_kafka_DeleteConsumerGroupOffsets_new(group.as_ptr(), list.ptr()) };
    let change = Owned(change, sys::rd_kafka_DeleteConsumerGroupOffsets_destroy);
    let op = Op::RD_KAFKA_ADMIN_OP_DELETECONSUMERGROUPOFFSETS;
    let event = request(client, op, timeout, |rk, options, queue| {
        let mut list = [change.0];
        // SAFETY: all arguments are valid; the request copies the change.
        unsafe {
            sys::rd_kafka_DeleteConsumerGroupOffsets(rk, list.as_mut_ptr(), 1, options, queue)
        }
    })?;
    // SAFETY: the result belongs to the event, which lives to the end of this function.
    unsafe {
        let mut count = 0;
        let result = sys::rd_kafka_event_DeleteConsumerGroupOffsets_result(event.0);
        let groups = sys::rd_kafka_DeleteConsumerGroupOffsets_result_groups(result, &raw mut count);
        group_result(groups, count)
    }
}

/// Deletes a group without members.
pub(crate) fn delete_group(client: &dyn Alive, group: &str, timeout: Duration) -> AdminResult<()> {
    let group = c_string(group)?;
    // SAFETY: the name outlives the call, which copies it.
    let doomed = unsafe { sys::rd_kafka_DeleteGroup_new(group.as_ptr()) };
    let doomed = Owned(doomed, sys::rd_kafka_DeleteGroup_destroy);
    let op = Op::RD_KAFKA_ADMIN_OP_DELETEGROUPS;
    let event = request(client, op, timeout, |rk, options, queue| {
        let mut list = [doomed.0];
        // SAFETY: all arguments are valid; the request copies the name.
        unsafe { sys::rd_kafka_DeleteGroups(rk, list.as_mut_ptr(), 1, options, queue) }
    })?;
    // SAFETY: the result belongs to the event, which lives to the end of this function.
    unsafe {
        let mut count = 0;
        let result = sys::rd_kafka_event_DeleteGroups_result(event.0);
        let groups = sys::rd_kafka_DeleteGroups_result_groups(result, &raw mut count);
        group_result(groups, count).map(drop)
    }
}

/// The members of a group; none where there is no such group.
pub(crate) fn describe_group(
    client: &dyn Alive,
    group: &str,
    timeout: Duration,
) -> AdminResult<Vec<GroupMember>> {
    let name = c_string(group)?;
    let op = Op::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    let event = request(client, op, timeout, |rk, options, queue| {
        let mut list = [name.as_ptr()];
        // SAFETY: all arguments are valid; the request copies the name.
        unsafe { sys::rd_kafka_DescribeConsumerGroups(rk, list.as_mut_ptr(), 1, options, queue) }
    })?;
    // SAFETY: what is read belongs to the event, which lives to the end of this function.
    unsafe {
        let mut count = 0;
        let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event.0);
        let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        if count == 0 {
            return Err(AdminError::of(BAD_ANSWER));
        }
        match check(sys::rd_kafka_ConsumerGroupDescription_error(*groups)) {
            Err(error) if error.code == Code::GroupIdNotFound as i32 => return Ok(Vec::new()),
            checked => checked?,
        }
        Ok((0..sys::rd_kafka_ConsumerGroupDescription_member_count(*groups))
            .map(|i| {
                let member = sys::rd_kafka_ConsumerGroupDescription_member(*groups, i);
                let instance = sys::rd_kafka_MemberDescription_group_instance_id(member);
                GroupMember {
                    client_id: read_text(sys::rd_kafka_MemberDescription_client_id(member)),
                    instance_id: (!instance.is_null()).then(|| read_text(instance)),
                    host: read_text(sys::rd_kafka_MemberDescription_host(member))
                        .trim_start_matches('/')
                        .to_owned(),
                }
            })
            .collect())
    }
}

const INVALID: i32 = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG as i32;
const BAD_ANSWER: i32 = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__BAD_MSG as i32;
const TIMED_OUT: i32 = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT as i32;

/// Something of librdkafka's with its destructor.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: made by the constructor that goes with the destructor, and destroyed once.
        unsafe { (self.1)(self.0) }
    }
}

/// Sends a request by `submit` and waits for its event, whose error, if any, is returned.
fn request(
    client: &dyn Alive,
    op: Op,
    timeout: Duration,
    submit: impl FnOnce(
        *mut sys::rd_kafka_t,
        *mut sys::rd_kafka_AdminOptions_t,
        *mut sys::rd_kafka_queue_t,
    ),
) -> AdminResult<Owned<sys::rd_kafka_event_t>> {
    let rk = client.rk();
    // SAFETY: the client is alive; options and queue are given back by `Owned`. The queue is polled
    // somewhat longer than the request may take, so that its event comes here; should it not, the
    // request holds its own reference on the queue.
    unsafe {
        let options =
            Owned(sys::rd_kafka_AdminOptions_new(rk, op), sys::rd_kafka_AdminOptions_destroy);
        sys::rd_kafka_AdminOptions_set_request_timeout(
            options.0,
            millis(timeout),
            ptr::null_mut(),
            0,
        );
        let queue = Owned(sys::rd_kafka_queue_new(rk), sys::rd_kafka_queue_destroy);
        submit(rk, options.0, queue.0);
        let event = sys::rd_kafka_queue_poll(queue.0, millis(timeout).saturating_add(5000));
        if event.is_null() {
            return Err(AdminError::of(TIMED_OUT));
        }
        let event = Owned(event, sys::rd_kafka_event_destroy);
        let code = sys::rd_kafka_event_error(event.0) as i32;
        if code != 0 {
            let text = read_text(sys::rd_kafka_event_error_string(event.0));
            return Err(AdminError { code, text });
        }
        Ok(event)
    }
}

/// # Safety
/// `groups` has `count` valid elements.
unsafe fn group_result(
    groups: *mut *const sys::rd_kafka_group_result_t,
    count: usize,
) -> AdminResult<Vec<PartitionReply>> {
    if count == 0 {
        return Err(AdminError::of(BAD_ANSWER));
    }
    // SAFETY: as the caller says.
    unsafe {
        check(sys::rd_kafka_group_result_error(*groups))?;
        Ok(read_list(sys::rd_kafka_group_result_partitions(*groups)))
    }
}

/// # Safety
/// `error` is null or valid.
unsafe fn check(error: *const sys::rd_kafka_error_t) -> AdminResult<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: as the caller says.
    unsafe {
        let code = sys::rd_kafka_error_code(error) as i32;
        if code == 0 {
            return Ok(());
        }
        Err(AdminError { code, text: read_text(sys::rd_kafka_error_string(error)) })
    }
}

fn c_string(text: &str) -> AdminResult<CString> {
    CString::new(text)
        .map_err(|_| AdminError { code: INVALID, text: "a name contains a NUL".to_owned() })
}

/// librdkafka's text; empty for null.
///
/// # Safety
/// `text` is null or a valid C string.
unsafe fn read_text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as the caller says.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
