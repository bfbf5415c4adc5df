// Writes what Debezium's own transforms make of the records in inputs.jsonl and of the samples.
//
//   java -cp "JARS/*" Golden.java inputs.jsonl SAMPLES < debezium.jsonl > new.jsonl && mv new.jsonl debezium.jsonl
//
// JARS holds debezium-connector-postgres 3.7.0.Final, connect-runtime, connect-json and connect-transforms 4.3.1
// and what they need; SAMPLES is tests/fixtures/samples.jsonl of connectors/postgres.
// The first line of either file is the list of schemas that the others refer to by their place. Each other line of
// inputs.jsonl is a record with a "name"; each other line of debezium.jsonl is
// an object: "with" (the class, by its simple name), "config", and "records", where each has
//   "of"  the name of an input, or sample:N for line N (from 0) of the samples
// and what became of it: "dropped", or "error" and "class", or
//   "topic", "partition", "timestamp", "key", "value" and "headers".
// A key, value or header is null, or [schema, payload]: together they are {"schema":…,"payload":…}, the text that
// JsonConverter writes. A text that is not so stands as it is. "refused" is a configuration's error.
// Each record gets a transform of its own, since EventRouter names schemas after the first record that it sees.

import com.fasterxml.jackson.databind.*;
import com.fasterxml.jackson.databind.node.*;
import io.debezium.transforms.ExtractNewRecordState;
import io.debezium.transforms.outbox.EventRouter;
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.header.Header;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.transforms.Transformation;

public class Golden {
    static final ObjectMapper JSON = new ObjectMapper();
    static final Map<String, Integer> SCHEMAS = new LinkedHashMap<>();
    static JsonNode known;
    static final JsonConverter CONVERTER = new JsonConverter();

    public static void main(String[] args) throws Exception {
        TimeZone.setDefault(TimeZone.getTimeZone("UTC"));
        // What is null must be told from a default.
        CONVERTER.configure(Map.of("replace.null.with.default", "false"), false);
        Map<String, JsonNode> inputs = new HashMap<>();
        for (String line : Files.readAllLines(Path.of(args[0]))) {
            JsonNode input = JSON.readTree(line);
            if (input.isArray()) known = input;
            else inputs.put(input.get("name").textValue(), input);
        }
        int number = 0;
        for (String line : Files.readAllLines(Path.of(args[1]))) {
            ObjectNode sample = (ObjectNode) JSON.readTree(line);
            ObjectNode input = JSON.createObjectNode();
            input.set("topic", sample.get("topic"));
            input.set("partition", sample.get("partition"));
            input.set("timestamp", sample.get("timestamp").get(1));
            input.set("key", sample.get("key_raw"));
            input.set("value", sample.get("value_raw"));
            inputs.put("sample:" + number++, input);
        }
        List<String> lines = new ArrayList<>();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            if (line.isBlank() || line.startsWith("[")) continue;
            ObjectNode group = (ObjectNode) JSON.readTree(line);
            run(group, inputs);
            lines.add(JSON.writeValueAsString(group));
        }
        PrintStream out = new PrintStream(System.out, false, "UTF-8");
        out.println(JSON.writeValueAsString(SCHEMAS.keySet()));
        lines.forEach(out::println);
        out.flush();
    }

    static Transformation<SourceRecord> make(ObjectNode group) {
        Map<String, Object> config = new HashMap<>();
        group.get("config").fields().forEachRemaining(e -> config.put(e.getKey(), e.getValue().textValue()));
        Transformation<SourceRecord> made =
            group.get("with").textValue().equals("EventRouter") ? new EventRouter<>() : new ExtractNewRecordState<>();
        made.configure(config);
        return made;
    }

    static void run(ObjectNode group, Map<String, JsonNode> inputs) {
        group.remove("refused");
        try {
            make(group);
        } catch (Exception e) {
            group.put("refused", String.valueOf(e.getMessage()));
            group.remove("records");
            return;
        }
        for (JsonNode item : group.get("records")) {
            ObjectNode record = (ObjectNode) item;
            String name = record.get("of").textValue();
            record.removeAll().put("of", name);
            try {
                SourceRecord after = make(group).apply(read(inputs.get(name)));
                if (after == null) record.put("dropped", true);
                else write(record, after);
            } catch (Exception e) {
                record.removeAll().put("of", name);
                record.put("error", String.valueOf(e.getMessage())).put("class", e.getClass().getName());
            }
        }
    }

    static SchemaAndValue decode(JsonNode text) {
        if (text == null || text.isNull()) return CONVERTER.toConnectData("t", null);
        String json = text.isTextual() ? text.textValue() : "{\"schema\":" + known.get(text.get(0).intValue()).textValue()
            + ",\"payload\":" + text.get(1).textValue() + "}";
        return CONVERTER.toConnectData("t", json.getBytes(StandardCharsets.UTF_8));
    }

    static SourceRecord read(JsonNode input) {
        SchemaAndValue key = decode(input.get("key")), value = decode(input.get("value"));
        JsonNode partition = input.get("partition"), timestamp = input.get("timestamp");
        SourceRecord record = new SourceRecord(Map.of(), Map.of(), input.get("topic").textValue(),
            partition == null || partition.isNull() ? null : partition.intValue(), key.schema(), key.value(),
            value.schema(), value.value(), timestamp == null || timestamp.isNull() ? null : timestamp.longValue());
        if (input.has("headers"))
            for (JsonNode header : input.get("headers"))
                record.headers().add(header.get(0).textValue(), decode(header.get(1)));
        return record;
    }

    static void write(ObjectNode record, SourceRecord after) throws Exception {
        record.put("topic", after.topic()).put("partition", after.kafkaPartition()).put("timestamp", after.timestamp());
        record.set("key", encode(CONVERTER.fromConnectData("t", after.keySchema(), after.key())));
        record.set("value", encode(CONVERTER.fromConnectData("t", after.valueSchema(), after.value())));
        ArrayNode headers = record.putArray("headers");
        for (Header header : after.headers())
            headers.addArray().add(header.key())
                .add(encode(CONVERTER.fromConnectData("t", header.schema(), header.value())));
    }

    static JsonNode encode(byte[] bytes) throws Exception {
        if (bytes == null) return NullNode.getInstance();
        String text = new String(bytes, StandardCharsets.UTF_8);
        String schema = JSON.writeValueAsString(JSON.readTree(text).get("schema"));
        String start = "{\"schema\":" + schema + ",\"payload\":";
        if (!text.startsWith(start)) return TextNode.valueOf(text);
        SCHEMAS.putIfAbsent(schema, SCHEMAS.size());
        return JSON.createArrayNode().add(SCHEMAS.get(schema)).add(text.substring(start.length(), text.length() - 1));
    }
}
