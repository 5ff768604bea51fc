package io.fourfold.config;

import java.lang.reflect.RecordComponent;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * A configuration written out in full: every key, in the order of the records, in one fixed format. Equal configurations
 * give equal text and so an equal hash, however they were layered; reading the text back gives an equal configuration.
 */
public final class ResolvedConfig {
    private static final Pattern PLAIN_TEXT = Pattern.compile("[A-Za-z_/][A-Za-z0-9_./+-]*");
    private static final Pattern YAML_WORD =
            Pattern.compile("(?i)true|false|yes|no|on|off|y|n|null|~|\\.inf|\\.nan|nan|inf|infinity");

    private static final int COMMENT_COLUMN = 44;

    private final String yaml;
    private final Map<String, String> values;

    private ResolvedConfig(String yaml, Map<String, String> values) {
        this.yaml = yaml;
        this.values = values;
    }

    public static ResolvedConfig of(FourfoldConfig config) {
        return ofRecord(config);
    }

    static ResolvedConfig ofRecord(Record config) {
        StringBuilder yaml = new StringBuilder();
        Map<String, String> values = new LinkedHashMap<>();
        write(config, "", "", yaml, values);
        return new ResolvedConfig(yaml.toString(), values);
    }

    /**
     * One section as a YAML layer of its own, every key written out.
     *
     * @param key where it belongs, for example {@code model}
     */
    public static String section(String key, Record section) {
        StringBuilder yaml = new StringBuilder(key).append(":\n");
        write(section, key, "  ", yaml, new LinkedHashMap<>());
        return yaml.toString();
    }

    /** The canonical YAML text, ending in a newline. */
    public String yaml() {
        return yaml;
    }

    /** Lower-case hexadecimal SHA-256 of {@link #yaml} in UTF-8. */
    public String sha256() {
        try {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(yaml.getBytes(StandardCharsets.UTF_8));
            return HexFormat.of().formatHex(digest);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java runtime has SHA-256", e);
        }
    }

    /** Canonical text of every leaf by its dotted path, in the order written. */
    public Map<String, String> values() {
        return values;
    }

    /** As {@link #yaml}, for people: each value that is not a default is followed by where it comes from. */
    public String annotated(Map<String, String> provenance) {
        StringBuilder out = new StringBuilder();
        List<String> path = new ArrayList<>();
        for (String line : yaml.lines().toList()) {
            String key = line.strip();
            int depth = (line.length() - key.length()) / 2;
            path.subList(depth, path.size()).clear();
            path.add(key.substring(0, key.indexOf(':')));
            String place = provenance.getOrDefault(String.join(".", path), RecordBinder.DEFAULT);
            out.append(line);
            if (!place.equals(RecordBinder.DEFAULT)) {
                out.append(" ".repeat(Math.max(1, COMMENT_COLUMN - line.length())))
                        .append(" # ")
                        .append(place);
            }
            out.append('\n');
        }
        return out.toString();
    }

    private static void write(
            Record record, String path, String indent, StringBuilder yaml, Map<String, String> values) {
        for (RecordComponent component : record.getClass().getRecordComponents()) {
            String key = SettingKeys.snakeCase(component.getName());
            String full = SettingKeys.join(path, key);
            Object value = read(record, component);
            yaml.append(indent).append(key).append(':');
            if (value instanceof Record nested) {
                yaml.append('\n');
                write(nested, full, indent + "  ", yaml, values);
            } else {
                String text = text(value);
                values.put(full, text);
                yaml.append(' ').append(text).append('\n');
            }
        }
    }

    private static @Nullable Object read(Record record, RecordComponent component) {
        try {
            component.getAccessor().setAccessible(true); // nested test records need not be public
            return component.getAccessor().invoke(record);
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException("cannot read " + component, e);
        }
    }

    private static String text(@Nullable Object value) {
        if (value == null) {
            return "null";
        }
        if (value instanceof Enum<?> constant) {
            return SettingKeys.word(constant);
        }
        if (value instanceof Double number) {
            return number(number);
        }
        if (value instanceof Number || value instanceof Boolean) {
            return value.toString();
        }
        if (value instanceof List<?> list) {
            return "["
                    + String.join(", ", list.stream().map(ResolvedConfig::text).toList()) + "]";
        }
        if (value instanceof Map<?, ?> map) {
            Map<String, String> sorted = new TreeMap<>();
            map.forEach((key, item) -> sorted.put(quoted(String.valueOf(key)), text(item)));
            return "{"
                    + String.join(
                            ", ",
                            sorted.entrySet().stream()
                                    .map(e -> e.getKey() + ": " + e.getValue())
                                    .toList()) + "}";
        }
        return quoted(value.toString());
    }

    /** The shortest decimal that reads back as the same double, never in a form that YAML 1.1 takes for text. */
    private static String number(double value) {
        String text = Double.toString(value);
        if (text.contains("E")) {
            BigDecimal decimal = new BigDecimal(text);
            int exponent = decimal.precision() - decimal.scale() - 1;
            if (exponent >= -3 && exponent < 16) {
                return decimal.toPlainString() + (decimal.scale() <= 0 ? ".0" : "");
            }
            return text.replace("E-", "e-").replaceFirst("E(\\d)", "e+$1");
        }
        return text;
    }

    /** Text as YAML: as it is when every reader takes it for text, otherwise in double quotes. */
    private static String quoted(String text) {
        if (PLAIN_TEXT.matcher(text).matches() && !YAML_WORD.matcher(text).matches()) {
            return text;
        }
        StringBuilder out = new StringBuilder("\"");
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c == '\n') {
                out.append("\\n");
            } else if (c < 0x20 || c > 0x7e) {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        return out.append('"').toString();
    }
}
