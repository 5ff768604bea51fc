package io.fourfold.config;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** YAML with the place of every node, so that a problem found later can still name its line. */
sealed interface YamlNode {
    /** {@code file:line}, or the {@code --set} argument. */
    String where();

    /** What the reader wrote, shortened, for messages. */
    String shown();

    /** True for an empty value, {@code ~} or {@code null}. */
    default boolean isNull() {
        return false;
    }

    /**
     * A mapping, in the order written.
     *
     * @param keyPlaces where each key stands
     */
    record Mapping(Map<String, YamlNode> entries, Map<String, String> keyPlaces, String where) implements YamlNode {
        static Mapping empty(String where) {
            return new Mapping(new LinkedHashMap<>(), new LinkedHashMap<>(), where);
        }

        void put(String key, YamlNode value, String place) {
            entries.put(key, value);
            keyPlaces.put(key, place);
        }

        String placeOf(String key) {
            return keyPlaces.getOrDefault(key, where);
        }

        @Override
        public String shown() {
            return "a mapping";
        }
    }

    /** A sequence. */
    record Sequence(List<YamlNode> items, String where) implements YamlNode {
        @Override
        public String shown() {
            return "a list";
        }
    }

    /**
     * Anything else, as text: the type of the setting decides what it means, not YAML's guess.
     *
     * @param plain written without quotes
     */
    record Scalar(String text, boolean plain, String where) implements YamlNode {
        @Override
        public boolean isNull() {
            return plain && (text.isEmpty() || text.equals("~") || text.equals("null"));
        }

        @Override
        public String shown() {
            String shown = text.length() > 60 ? text.substring(0, 57) + "..." : text;
            return plain ? shown : '"' + shown + '"';
        }
    }
}
