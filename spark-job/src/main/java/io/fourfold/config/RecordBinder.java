package io.fourfold.config;

import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.RecordComponent;
import java.lang.reflect.Type;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Fills any record whose components carry {@link Setting}: keys in snake_case, defaults, ranges, earlier names, nested
 * records, lists, maps and enums. Goes on after a problem, so one call reports all of them.
 */
final class RecordBinder {
    static final String DEFAULT = "default";
    /** The rule of a {@link Problem} where a setting without default is missing. */
    static final String NOT_GIVEN = "is required and not given";

    private static final Object FAILED = new Object();

    private final List<Problem> problems;
    private final Map<String, String> places = new LinkedHashMap<>();
    private final Map<String, String> leaves = new LinkedHashMap<>();
    private final Map<String, Record> records = new LinkedHashMap<>();
    private final List<SettingKeys.Key> known;

    /**
     * @param root where "did you mean" looks for keys written at the wrong level
     */
    RecordBinder(Class<? extends Record> root, List<Problem> problems) {
        this.problems = problems;
        this.known = SettingKeys.all(root, "");
    }

    /** Where each key got its value from, records included; filled by {@link #bind}. */
    Map<String, String> places() {
        return places;
    }

    /** As {@link #places} without the records. */
    Map<String, String> leaves() {
        return leaves;
    }

    /** The records that could be read, by path: what the cross checks can work on when others are broken. */
    Map<String, Record> records() {
        return records;
    }

    /**
     * @param path dotted path of the record itself, empty for the root
     * @return the record, or null when anything in it could not be read
     */
    <R extends Record> @Nullable R bind(Class<R> type, YamlNode.Mapping node, String path) {
        RecordComponent[] components = type.getRecordComponents();
        Object[] values = new Object[components.length];
        boolean complete = true;
        Set<String> accepted = new LinkedHashSet<>();
        for (int i = 0; i < components.length; i++) {
            Object value = component(components[i], node, path, accepted);
            complete &= value != FAILED;
            values[i] = value;
        }
        reportUnknown(node, path, accepted);
        return complete ? construct(type, components, values, node, path) : null;
    }

    private @Nullable Object component(
            RecordComponent component, YamlNode.Mapping node, String path, Set<String> accepted) {
        Setting setting = SettingKeys.settingOf(component);
        String key = SettingKeys.snakeCase(component.getName());
        String full = SettingKeys.join(path, key);
        accepted.add(key);
        accepted.addAll(Arrays.asList(setting.oldNames()));
        String written = writtenAs(key, setting, node, full);
        YamlNode given = written == null ? null : node.entries().get(written);
        if (written == null || given == null || given.isNull()) {
            return absent(component, setting, full, written == null ? null : node.placeOf(written), node.where());
        }
        places.put(full, given instanceof YamlNode.Scalar ? given.where() : node.placeOf(written));
        return convert(component.getGenericType(), setting, given, full);
    }

    /** The key under which a value was given: the name, or an earlier one with a warning; null when not given. */
    private @Nullable String writtenAs(String key, Setting setting, YamlNode.Mapping node, String full) {
        String written = node.entries().containsKey(key) ? key : null;
        for (String old : setting.oldNames()) {
            if (!node.entries().containsKey(old)) {
                continue;
            }
            if (written != null) {
                problems.add(Problem.error(
                                full, "", "is also given by its old name " + old, "remove " + old + " and keep " + key)
                        .at(node.placeOf(old)));
                continue;
            }
            problems.add(Problem.warning(full, "", old + " is an old name of this setting", "rename it to " + key)
                    .at(node.placeOf(old)));
            written = old;
        }
        return written;
    }

    private @Nullable Object absent(
            RecordComponent component, Setting setting, String full, @Nullable String place, String parent) {
        if (setting.value().equals(Setting.REQUIRED)) {
            problems.add(Problem.error(
                            full,
                            "",
                            NOT_GIVEN,
                            "add it: " + firstSentence(setting.doc())
                                    + (component.getType().isRecord() ? " (a mapping)" : ""))
                    .at(place == null ? parent : place));
            return FAILED;
        }
        String where = place == null ? DEFAULT : place;
        places.put(full, where);
        if (setting.value().equals(Setting.ABSENT)) {
            leaves.put(full, where);
            return null;
        }
        YamlNode node = YamlParser.value(where, setting.value(), problems);
        return node == null ? FAILED : convert(component.getGenericType(), setting, node, full);
    }

    private static String firstSentence(String doc) {
        int end = doc.indexOf(". ");
        return (end < 0 ? doc : doc.substring(0, end)).replaceAll("\\.$", "");
    }

    private @Nullable Object convert(Type type, Setting setting, YamlNode node, String full) {
        if (type instanceof ParameterizedType parameterized) {
            leaves.put(full, node.where());
            return parameterized.getRawType() == List.class
                    ? list(parameterized, setting, node, full)
                    : map(parameterized, setting, node, full);
        }
        Class<?> raw = (Class<?>) type;
        if (raw.isRecord()) {
            if (node instanceof YamlNode.Mapping mapping) {
                Object bound = bind(raw.asSubclass(Record.class), mapping, full);
                return bound == null ? FAILED : bound;
            }
            return fail(full, node, "must be a mapping", "nest its settings below " + full);
        }
        leaves.put(full, node.where());
        if (!(node instanceof YamlNode.Scalar scalar)) {
            return fail(full, node, "must be " + Scalars.article(raw), "give a single value");
        }
        try {
            return inRange(Scalars.read(scalar, raw), setting, node, full);
        } catch (Scalars.Mismatch e) {
            return fail(full, node, String.valueOf(e.getMessage()), e.fix());
        }
    }

    private Object list(ParameterizedType type, Setting setting, YamlNode node, String full) {
        if (!(node instanceof YamlNode.Sequence sequence)) {
            return fail(full, node, "must be a list", "write [" + node.shown() + "] or one item per line after '- '");
        }
        List<Object> values = new ArrayList<>();
        boolean complete = true;
        for (int i = 0; i < sequence.items().size(); i++) {
            Object value = item(type, 0, setting, sequence.items().get(i), full + "[" + i + "]");
            complete &= value != FAILED;
            values.add(value);
        }
        return complete ? values : FAILED;
    }

    private Object map(ParameterizedType type, Setting setting, YamlNode node, String full) {
        if (!(node instanceof YamlNode.Mapping mapping)) {
            return fail(full, node, "must be a mapping of names to values", "write name: value below it");
        }
        Map<String, Object> values = new LinkedHashMap<>();
        boolean complete = true;
        for (Map.Entry<String, YamlNode> entry : mapping.entries().entrySet()) {
            if (entry.getValue().isNull()) {
                continue; // a later layer took the entry out
            }
            Object value = item(type, 1, setting, entry.getValue(), SettingKeys.join(full, entry.getKey()));
            complete &= value != FAILED;
            values.put(entry.getKey(), value);
        }
        return complete ? values : FAILED;
    }

    private Object item(ParameterizedType type, int argument, Setting setting, YamlNode node, String full) {
        if (node.isNull()) {
            return fail(full, node, "must have a value", "give one or remove the item");
        }
        Object value = convert(SettingKeys.argument(type, argument), setting, node, full);
        leaves.remove(full);
        places.put(full, node.where());
        return value == null ? FAILED : value;
    }

    private Object inRange(Object value, Setting setting, YamlNode node, String full) {
        if (!(value instanceof Number number)) {
            return value;
        }
        double v = number.doubleValue();
        if (v >= setting.min() && v <= setting.max()) {
            return value;
        }
        String rule;
        if (setting.max() == Double.POSITIVE_INFINITY) {
            rule = "must be at least " + plain(setting.min());
        } else if (setting.min() == Double.NEGATIVE_INFINITY) {
            rule = "must be at most " + plain(setting.max());
        } else {
            rule = "must be between " + plain(setting.min()) + " and " + plain(setting.max());
        }
        double nearest = v < setting.min() ? setting.min() : setting.max();
        return fail(full, node, rule, "the nearest legal value is " + plain(nearest));
    }

    static String plain(double value) {
        return value == Math.rint(value) && Math.abs(value) < 1e15
                ? Long.toString((long) value)
                : Double.toString(value);
    }

    private Object fail(String full, YamlNode node, String rule, String fix) {
        problems.add(Problem.error(full, node.shown(), rule, fix).at(node.where()));
        return FAILED;
    }

    private void reportUnknown(YamlNode.Mapping node, String path, Set<String> accepted) {
        for (String key : node.entries().keySet()) {
            if (!accepted.contains(key)) {
                problems.add(Problem.error(
                                SettingKeys.join(path, key),
                                "",
                                "there is no such setting",
                                suggestion(key, path, accepted))
                        .at(node.placeOf(key)));
            }
        }
    }

    private String suggestion(String key, String path, Set<String> accepted) {
        if (key.contains(".")) {
            return "dots work in --set only; in a file nest the keys";
        }
        for (SettingKeys.Key other : known) {
            if (other.name().equals(key)) {
                return "did you mean " + other.path() + "?";
            }
        }
        String nearest = NearestName.of(key, accepted);
        if (nearest != null) {
            return "did you mean " + SettingKeys.join(path, nearest) + "?";
        }
        nearest = NearestName.of(key, known.stream().map(SettingKeys.Key::name).toList());
        for (SettingKeys.Key other : known) {
            if (other.name().equals(nearest)) {
                return "did you mean " + other.path() + "?";
            }
        }
        return "legal here: " + String.join(", ", accepted);
    }

    private <R extends Record> @Nullable R construct(
            Class<R> type, RecordComponent[] components, Object[] values, YamlNode.Mapping node, String path) {
        try {
            Class<?>[] types =
                    Arrays.stream(components).map(RecordComponent::getType).toArray(Class<?>[]::new);
            Constructor<R> constructor = type.getDeclaredConstructor(types);
            constructor.setAccessible(true); // nested test records need not be public
            R record = constructor.newInstance(values);
            records.put(path, record);
            return record;
        } catch (InvocationTargetException e) {
            problems.add(Problem.error(path, "", message(e.getCause()), "correct the values")
                    .at(node.where()));
            return null;
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException("cannot construct " + type.getName(), e);
        }
    }

    private static String message(@Nullable Throwable refused) {
        return refused == null ? "refused" : String.valueOf(refused.getMessage());
    }
}
