package io.fourfold.config;

import java.lang.reflect.ParameterizedType;
import java.lang.reflect.RecordComponent;
import java.lang.reflect.Type;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** The keys of configuration records, read from the records themselves. */
final class SettingKeys {
    /**
     * One key.
     *
     * @param path dotted path from the root
     * @param component where it is declared
     */
    record Key(String path, RecordComponent component) {
        String name() {
            return snakeCase(component.getName());
        }

        Setting setting() {
            return settingOf(component);
        }
    }

    private SettingKeys() {}

    /** learningRate becomes learning_rate, weight2d stays. */
    static String snakeCase(String name) {
        StringBuilder out = new StringBuilder();
        for (char c : name.toCharArray()) {
            if (Character.isUpperCase(c)) {
                out.append('_').append(Character.toLowerCase(c));
            } else {
                out.append(c);
            }
        }
        return out.toString();
    }

    /** An enum constant as it is written in YAML. */
    static String word(Enum<?> constant) {
        return constant.name().toLowerCase(Locale.ROOT);
    }

    static Setting settingOf(RecordComponent component) {
        Setting setting = component.getAnnotation(Setting.class);
        if (setting == null) {
            throw new IllegalStateException(component.getDeclaringRecord().getName() + "." + component.getName()
                    + " has no @Setting: every component of a configuration record needs one");
        }
        return setting;
    }

    /** Every key below a record, depth first, in declaration order; records and leaves alike. */
    static List<Key> all(Class<?> record, String prefix) {
        List<Key> keys = new ArrayList<>();
        for (RecordComponent component : record.getRecordComponents()) {
            String path = join(prefix, snakeCase(component.getName()));
            keys.add(new Key(path, component));
            if (component.getType().isRecord()) {
                keys.addAll(all(component.getType(), path));
            }
        }
        return keys;
    }

    static String join(String prefix, String key) {
        return prefix.isEmpty() ? key : prefix + "." + key;
    }

    /** The i-th type argument, for List and Map. */
    static Type argument(Type type, int i) {
        return ((ParameterizedType) type).getActualTypeArguments()[i];
    }

    /** Legal words of an enum, or null when the type is none. */
    static @Nullable List<String> words(Class<?> type) {
        if (!type.isEnum()) {
            return null;
        }
        List<String> words = new ArrayList<>();
        for (Object constant : type.getEnumConstants()) {
            words.add(word((Enum<?>) constant));
        }
        return words;
    }
}
