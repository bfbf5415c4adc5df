use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

/// The server's side: the layout once more, written from the documentation.
mod write {
    use super::*;

    pub(super) fn message(message: &Message) -> Bytes {
        let mut out = BytesMut::new();
        match message {
            Message::Begin(m) => {
                out.put_u8(b'B');
                out.put_u64(m.commit_lsn.0);
                time(&mut out, m.committed_at_us);
                out.put_u32(m.xid);
            }
            Message::Logical(m) => {
                head(&mut out, b'M', m.xid);
                out.put_u8(m.transactional.into());
                out.put_u64(m.lsn.0);
                text(&mut out, &m.prefix);
                out.put_u32(m.content.len() as u32);
                out.put_slice(&m.content);
            }
            Message::Commit(m) => {
                out.put_u8(b'C');
                commit(&mut out, m);
            }
            Message::Origin(m) => {
                out.put_u8(b'O');
                out.put_u64(m.commit_lsn.0);
                text(&mut out, &m.name);
            }
            Message::Relation(m) => relation(&mut out, m),
            Message::Type(m) => {
                head(&mut out, b'Y', m.xid);
                out.put_u32(m.oid);
                namespace(&mut out, &m.namespace);
                text(&mut out, &m.name);
            }
            Message::Insert(m) => {
                head(&mut out, b'I', m.xid);
                out.put_u32(m.relation);
                tuple(&mut out, b'N', &m.new);
            }
            Message::Update(m) => {
                head(&mut out, b'U', m.xid);
                out.put_u32(m.relation);
                if let Some(row) = &m.old {
                    old(&mut out, row);
                }
                tuple(&mut out, b'N', &m.new);
            }
            Message::Delete(m) => {
                head(&mut out, b'D', m.xid);
                out.put_u32(m.relation);
                old(&mut out, &m.old);
            }
            Message::Truncate(m) => {
                head(&mut out, b'T', m.xid);
                out.put_u32(m.relations.len() as u32);
                out.put_u8(u8::from(m.cascade) | u8::from(m.restart_identity) << 1);
                m.relations.iter().for_each(|oid| out.put_u32(*oid));
            }
            Message::StreamStart(m) => {
                head(&mut out, b'S', Some(m.xid));
                out.put_u8(m.first.into());
            }
            Message::StreamStop => out.put_u8(b'E'),
            Message::StreamCommit(m) => {
                head(&mut out, b'c', Some(m.xid));
                commit(&mut out, &m.commit);
            }
            Message::StreamAbort(m) => {
                head(&mut out, b'A', Some(m.xid));
                out.put_u32(m.subxid);
                if let Some(aborted) = m.aborted {
                    out.put_u64(aborted.lsn.0);
                    time(&mut out, aborted.at_us);
                }
            }
        }
        out.freeze()
    }

    fn head(out: &mut BytesMut, tag: u8, xid: Option<Xid>) {
        out.put_u8(tag);
        if let Some(xid) = xid {
            out.put_u32(xid);
        }
    }

    fn time(out: &mut BytesMut, unix_us: i64) {
        out.put_i64(postgres_us(unix_us));
    }

    fn text(out: &mut BytesMut, text: &str) {
        out.put_slice(text.as_bytes());
        out.put_u8(0);
    }

    fn namespace(out: &mut BytesMut, name: &str) {
        text(out, if name == "pg_catalog" { "" } else { name });
    }

    fn commit(out: &mut BytesMut, commit: &Commit) {
        out.put_u8(0);
        out.put_u64(commit.commit_lsn.0);
        out.put_u64(commit.end_lsn.0);
        time(out, commit.committed_at_us);
    }

    fn relation(out: &mut BytesMut, m: &Relation) {
        head(out, b'R', m.xid);
        out.put_u32(m.oid);
        namespace(out, &m.namespace);
        text(out, &m.name);
        out.put_u8(match m.replica_identity {
            ReplicaIdentity::Default => b'd',
            ReplicaIdentity::Nothing => b'n',
            ReplicaIdentity::Full => b'f',
            ReplicaIdentity::Index => b'i',
        });
        out.put_u16(m.columns.len() as u16);
        for column in &m.columns {
            out.put_u8(column.is_key.into());
            text(out, &column.name);
            out.put_u32(column.type_oid);
            out.put_i32(column.type_modifier);
        }
    }

    fn old(out: &mut BytesMut, row: &Old) {
        match row {
            Old::Key(row) => tuple(out, b'K', row),
            Old::Row(row) => tuple(out, b'O', row),
        }
    }

    fn tuple(out: &mut BytesMut, tag: u8, tuple: &Tuple) {
        out.put_u8(tag);
        out.put_u16(tuple.len() as u16);
        columns(out, tuple.columns());
    }

    pub(super) fn columns<'a>(out: &mut BytesMut, columns: impl Iterator<Item = Column<'a>>) {
        for column in columns {
            let (tag, value) = match column {
                Column::Null => (b'n', None),
                Column::Unchanged => (b'u', None),
                Column::Text(value) => (b't', Some(value)),
                Column::Binary(value) => (b'b', Some(value)),
            };
            out.put_u8(tag);
            if let Some(value) = value {
                out.put_u32(value.len() as u32);
                out.put_slice(value);
            }
        }
    }
}

fn tuple_of(columns: &[Column<'_>]) -> Tuple {
    let mut out = BytesMut::new();
    write::columns(&mut out, columns.iter().copied());
    Tuple::new(out.freeze(), columns.len() as u16)
}

fn tuples() -> impl Strategy<Value = Tuple> {
    vec((0..4u8, vec(any::<u8>(), 0..20)), 0..8).prop_map(|columns| {
        let column = |(kind, value): &'_ (u8, Vec<u8>)| match kind {
            0 => (b'n', Vec::new()),
            1 => (b'u', Vec::new()),
            2 => (b't', value.clone()),
            _ => (b'b', value.clone()),
        };
        let columns: Vec<_> = columns.iter().map(column).collect();
        let columns: Vec<_> = columns
            .iter()
            .map(|(tag, value)| match tag {
                b'n' => Column::Null,
                b'u' => Column::Unchanged,
                b't' => Column::Text(value),
                _ => Column::Binary(value),
            })
            .collect();
        tuple_of(&columns)
    })
}

fn names() -> impl Strategy<Value = Arc<str>> {
    "[a-zäß_ ]{1,9}".prop_map(Arc::from)
}

fn lsns() -> impl Strategy<Value = Lsn> {
    any::<u64>().prop_map(Lsn)
}

/// Times that both epochs can say.
fn times() -> impl Strategy<Value = i64> {
    (i64::MIN..i64::MAX - EPOCH_US).prop_map(unix_us)
}

fn olds() -> impl Strategy<Value = Old> {
    (any::<bool>(), tuples()).prop_map(|(key, t)| if key { Old::Key(t) } else { Old::Row(t) })
}

fn commits() -> impl Strategy<Value = Commit> {
    (lsns(), lsns(), times()).prop_map(|(commit_lsn, end_lsn, committed_at_us)| Commit {
        commit_lsn,
        end_lsn,
        committed_at_us,
    })
}

fn relation_columns() -> impl Strategy<Value = RelationColumn> {
    (any::<bool>(), names(), any::<u32>(), any::<i32>()).prop_map(
        |(is_key, name, type_oid, type_modifier)| RelationColumn {
            is_key,
            name,
            type_oid,
            type_modifier,
        },
    )
}

fn relations(xid: Option<Xid>) -> impl Strategy<Value = Relation> {
    let identities = prop_oneof![
        Just(ReplicaIdentity::Default),
        Just(ReplicaIdentity::Nothing),
        Just(ReplicaIdentity::Full),
        Just(ReplicaIdentity::Index),
    ];
    (any::<u32>(), names(), names(), identities, vec(relation_columns(), 0..6)).prop_map(
        move |(oid, namespace, name, replica_identity, columns)| Relation {
            xid,
            oid,
            namespace,
            name,
            replica_identity,
            columns,
        },
    )
}

fn messages(xid: Option<Xid>) -> impl Strategy<Value = Message> {
    let rows = prop_oneof![
        (any::<u32>(), tuples()).prop_map(move |(relation, new)| Message::Insert(Insert {
            xid,
            relation,
            new
        })),
        (any::<u32>(), option::of(olds()), tuples()).prop_map(move |(relation, old, new)| {
            Message::Update(Update { xid, relation, old, new })
        }),
        (any::<u32>(), olds()).prop_map(move |(relation, old)| Message::Delete(Delete {
            xid,
            relation,
            old
        })),
        (any::<bool>(), any::<bool>(), vec(any::<u32>(), 0..5)).prop_map(
            move |(cascade, restart_identity, relations)| {
                Message::Truncate(Truncate { xid, cascade, restart_identity, relations })
            }
        ),
        (any::<bool>(), lsns(), names(), vec(any::<u8>(), 0..40)).prop_map(
            move |(transactional, lsn, prefix, content)| {
                let content = content.into();
                Message::Logical(Logical { xid, transactional, lsn, prefix, content })
            }
        ),
        relations(xid).prop_map(Message::Relation),
        (any::<u32>(), names(), names()).prop_map(move |(oid, namespace, name)| {
            Message::Type(Type { xid, oid, namespace, name })
        }),
    ];
    let frames = prop_oneof![
        (lsns(), times(), any::<u32>()).prop_map(|(commit_lsn, committed_at_us, xid)| {
            Message::Begin(Begin { commit_lsn, committed_at_us, xid })
        }),
        commits().prop_map(Message::Commit),
        (lsns(), names())
            .prop_map(|(commit_lsn, name)| Message::Origin(Origin { commit_lsn, name })),
        (any::<u32>(), any::<bool>())
            .prop_map(|(xid, first)| Message::StreamStart(StreamStart { xid, first })),
        Just(Message::StreamStop),
        (any::<u32>(), commits())
            .prop_map(|(xid, commit)| Message::StreamCommit(StreamCommit { xid, commit })),
        (any::<u32>(), any::<u32>(), option::of((lsns(), times()))).prop_map(
            |(xid, subxid, aborted)| {
                let aborted = aborted.map(|(lsn, at_us)| Aborted { lsn, at_us });
                Message::StreamAbort(StreamAbort { xid, subxid, aborted })
            }
        ),
    ];
    prop_oneof![4 => rows, 3 => frames]
}

proptest! {
    #[test]
    fn messages_go_there_and_back(
        (xid, message) in option::of(any::<u32>()).prop_flat_map(|xid| (Just(xid), messages(xid))),
    ) {
        let frame = write::message(&message);
        prop_assert_eq!(parse(&frame, xid.is_some()), Ok(message));
    }

    #[test]
    fn a_cut_or_longer_frame_is_no_message(
        message in messages(Some(7)),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = write::message(&message);
        let part = whole.slice(..cut.index(whole.len()));
        // Where and when a transaction was aborted may be left out.
        let is_shorter_abort = whole[0] == b'A' && part.len() == 9;
        prop_assert_eq!(parse(&part, true).is_ok(), is_shorter_abort);
        let longer = [&whole[..], b"\0"].concat();
        prop_assert!(parse(&longer.into(), true).is_err());
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(
        tag in prop_oneof![
            prop::sample::select(b"BMCORYIUDTSEcAbPKrp".to_vec()),
            any::<u8>(),
        ],
        body in vec(prop_oneof![Just(0u8), prop::sample::select(b"NKOtbnu".to_vec()), any::<u8>()], 0..200),
        in_stream: bool,
    ) {
        let frame = Bytes::from([&[tag], &body[..]].concat());
        if let Ok(message) = parse(&frame, in_stream) {
            // What was read holds what it announces.
            let again = write::message(&message);
            prop_assert!(again.len() <= frame.len() + "pg_catalog".len());
        }
    }
}

#[track_caller]
fn check(frame: &[u8], expect: &str) {
    let error = parse(&Bytes::copy_from_slice(frame), false).unwrap_err();
    assert_eq!(error.to_string(), format!("read the {expect}"));
}

#[test]
fn errors_say_which_message_and_where() {
    let of = "of a replication stream at byte";
    check(b"", &format!("message {of} 0: 1 more bytes were announced than there are"));
    check(b"?", &format!("message {of} 0: the byte 0x3f is unknown there"));
    check(b"I\0\0\0\x01X", &format!("Insert {of} 5: the byte 0x58 is unknown there"));
    check(
        b"I\0\0\0\x01N\0\x01t\0\0\0\x05abc",
        &format!("Insert {of} 13: 2 more bytes were announced than there are"),
    );
    check(b"I\0\0\0\x01N\0\x01t\xff\xff\xff\xff", &format!("Insert {of} 9: -1 is no length"));
    check(b"Y\0\0\0\x01abc", &format!("Type {of} 5: a text has no end"));
    check(b"Y\0\0\0\x01\xff\0b\0", &format!("Type {of} 5: a text is not UTF-8"));
    check(b"E1", &format!("Stream Stop {of} 1: 1 bytes are left over"));
    check(
        b"b1234",
        &format!(
            "Begin Prepare {of} 0: two-phase commit is not supported: create the slot without \
             TWO_PHASE"
        ),
    );
    let two_phase = parse(&Bytes::from_static(b"P"), false).unwrap_err();
    assert_eq!(Error::from(two_phase).kind(), ErrorKind::Unsupported);
}

#[test]
fn announced_counts_allocate_nothing() {
    // Two thousand million tables in nine bytes.
    check(
        b"T\x7f\xff\xff\xff\0\0\0\0",
        "Truncate of a replication stream at byte 6: 1 more bytes were announced than there are",
    );
}

#[test]
fn values_share_the_frame() {
    let tuple = tuple_of(&[Column::Text(b"one"), Column::Null, Column::Unchanged]);
    assert_eq!(format!("{tuple:?}"), "[Text([111, 110, 101]), Null, Unchanged]");
    let Some(Column::Text(value)) = tuple.columns().next() else { panic!("no text") };
    assert_eq!(tuple.share(value).as_ptr(), value.as_ptr());
    assert_eq!(tuple.share(b"foreign"), "foreign");
    assert_eq!(tuple.columns().len(), 3);
}

#[test]
fn the_catalogs_schema_has_its_name() {
    let frame = Bytes::from_static(b"Y\0\0\0\x01\0int4\0");
    let Ok(Message::Type(read)) = parse(&frame, false) else { panic!("no type") };
    assert_eq!((&*read.namespace, &*read.name), ("pg_catalog", "int4"));
}
