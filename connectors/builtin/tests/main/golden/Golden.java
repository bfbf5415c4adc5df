// Writes what Kafka Connect's own converters, transforms and config providers make of cases.jsonl.
//
//   java -cp "CONNECT_JARS/*" Golden.java < cases.jsonl > connect.jsonl
//
// CONNECT_JARS holds connect-json, connect-transforms, connect-runtime 4.3.1 and what they need.
// Each line of cases.jsonl is a JSON object:
//   "with"    the class that reads the input, by its simple name
//   "config"  its configuration
//   "text" or "hex"  the input; neither for a null
//   "then"    what is done with the result: [{"with": a converter that writes it, or a transform, "config"}]
// A line of connect.jsonl is the same object with "result" added to it and to each "then".

import com.fasterxml.jackson.databind.*;
import com.fasterxml.jackson.databind.node.*;
import java.io.*;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.apache.kafka.connect.data.*;
import org.apache.kafka.connect.data.Date;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.storage.*;
import org.apache.kafka.connect.transforms.Transformation;

public class Golden {
    static final ObjectMapper JSON = new ObjectMapper();
    static final String[] PACKAGES = {
        "org.apache.kafka.connect.json.", "org.apache.kafka.connect.storage.",
        "org.apache.kafka.connect.converters.", "org.apache.kafka.connect.transforms."
    };

    public static void main(String[] args) throws Exception {
        TimeZone.setDefault(TimeZone.getTimeZone("UTC"));
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, false, "UTF-8");
        for (String line; (line = in.readLine()) != null; ) {
            if (line.isBlank()) continue;
            ObjectNode item = (ObjectNode) JSON.readTree(line);
            SchemaAndValue read = read(item);
            if (read != null && item.has("then"))
                for (JsonNode then : item.get("then")) then((ObjectNode) then, read);
            out.println(JSON.writeValueAsString(item));
        }
        out.flush();
    }

    static Object make(JsonNode item) throws Exception {
        for (String name : PACKAGES)
            try {
                return Class.forName(name + item.get("with").textValue()).getDeclaredConstructor().newInstance();
            } catch (ClassNotFoundException e) {
                // The next package.
            }
        throw new IllegalArgumentException("no class " + item.get("with"));
    }

    static Map<String, Object> config(JsonNode item) {
        Map<String, Object> config = new HashMap<>();
        if (item.has("config")) item.get("config").fields().forEachRemaining(e -> config.put(e.getKey(), e.getValue().textValue()));
        return config;
    }

    static SchemaAndValue read(ObjectNode item) throws Exception {
        byte[] input = item.has("text") ? item.get("text").textValue().getBytes(StandardCharsets.UTF_8)
            : item.has("hex") ? HexFormat.of().parseHex(item.get("hex").textValue()) : null;
        try {
            Object converter = make(item);
            SchemaAndValue read;
            if (converter instanceof Converter c) {
                c.configure(config(item), false);
                read = c.toConnectData("t", input);
            } else {
                HeaderConverter c = (HeaderConverter) converter;
                c.configure(config(item));
                read = c.toConnectHeader("t", "h", input);
            }
            item.put("result", show(read == null ? SchemaAndValue.NULL : read));
            return read == null ? SchemaAndValue.NULL : read;
        } catch (RuntimeException e) {
            fail(item, e);
            return null;
        }
    }

    static void then(ObjectNode item, SchemaAndValue read) throws Exception {
        try {
            Object made = make(item);
            if (made instanceof Transformation<?>) {
                @SuppressWarnings("unchecked") Transformation<SinkRecord> t = (Transformation<SinkRecord>) made;
                t.configure(config(item));
                boolean key = item.get("with").textValue().endsWith("$Key");
                SinkRecord record = key ? new SinkRecord("t", 0, read.schema(), read.value(), null, null, 0)
                    : new SinkRecord("t", 0, null, null, read.schema(), read.value(), 0);
                SinkRecord after = t.apply(record);
                item.put("result", show(key ? new SchemaAndValue(after.keySchema(), after.key())
                    : new SchemaAndValue(after.valueSchema(), after.value())));
                return;
            }
            byte[] written;
            if (made instanceof Converter c) {
                c.configure(config(item), false);
                written = c.fromConnectData("t", read.schema(), read.value());
            } else {
                HeaderConverter c = (HeaderConverter) made;
                c.configure(config(item));
                written = c.fromConnectHeader("t", "h", read.schema(), read.value());
            }
            if (written == null) item.putNull("result");
            else if (Arrays.equals(written, new String(written, StandardCharsets.UTF_8).getBytes(StandardCharsets.UTF_8)))
                item.put("result", new String(written, StandardCharsets.UTF_8));
            else item.put("hex", HexFormat.of().formatHex(written));
        } catch (RuntimeException e) {
            fail(item, e);
        }
    }

    static void fail(ObjectNode item, RuntimeException e) {
        item.put("error", e.getMessage()).put("class", e.getClass().getName()).put("cause", e.getCause() != null);
    }

    static String show(SchemaAndValue both) {
        return show(both.schema()) + " " + show(both.value());
    }

    static String show(Schema s) {
        if (s == null) return "-";
        StringBuilder b = new StringBuilder(s.isOptional() ? "?" : "").append(s.type().getName());
        switch (s.type()) {
            case ARRAY -> b.append("<").append(show(s.valueSchema())).append(">");
            case MAP -> b.append("<").append(show(s.keySchema())).append(",").append(show(s.valueSchema())).append(">");
            case STRUCT -> {
                b.append("<");
                for (Field f : s.fields()) b.append(f.index() > 0 ? "," : "").append(f.name()).append(":").append(show(f.schema()));
                b.append(">");
            }
            default -> { }
        }
        if (s.name() != null) b.append("(").append(s.name()).append(")");
        if (s.version() != null) b.append("v").append(s.version());
        if (s.parameters() != null && !s.parameters().isEmpty()) b.append(s.parameters());
        if (s.doc() != null) b.append("\"").append(s.doc()).append("\"");
        if (s.defaultValue() != null) b.append("=").append(show(s.defaultValue()));
        return b.toString();
    }

    static String show(Object v) {
        if (v == null) return "null";
        if (v instanceof Boolean) return v.toString();
        if (v instanceof Byte) return v + "b";
        if (v instanceof Short) return v + "s";
        if (v instanceof Integer) return v + "i";
        if (v instanceof Long) return v + "l";
        if (v instanceof Float) return v + "f";
        if (v instanceof Double) return v + "d";
        if (v instanceof BigDecimal) return v + "m";
        if (v instanceof java.util.Date d) return d.getTime() + "t";
        if (v instanceof byte[] b) return "0x" + HexFormat.of().formatHex(b);
        if (v instanceof String s) return TextNode.valueOf(s).toString();
        StringJoiner j;
        if (v instanceof List<?> list) {
            j = new StringJoiner(",", "[", "]");
            for (Object item : list) j.add(show(item));
        } else if (v instanceof Map<?, ?> map) {
            j = new StringJoiner(",", "{", "}");
            for (Map.Entry<?, ?> e : map.entrySet()) j.add(show(e.getKey()) + ":" + show(e.getValue()));
        } else {
            Struct struct = (Struct) v;
            j = new StringJoiner(",", "(", ")");
            for (Field f : struct.schema().fields()) j.add(f.name() + ":" + show(struct.getWithoutDefault(f.name())));
        }
        return j.toString();
    }
}
