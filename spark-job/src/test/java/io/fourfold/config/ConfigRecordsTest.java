package io.fourfold.config;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.reflect.ParameterizedType;
import java.lang.reflect.RecordComponent;
import java.lang.reflect.Type;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** The same three tests for every configuration record: defaults, a full explicit mapping, earlier names. */
class ConfigRecordsTest {
    /** A record with every feature of {@link Setting}, for what no real record uses at the moment. */
    record Fixture(
            @Setting(doc = "A count.", value = "3", min = 1, max = 9, oldNames = "number")
            int count,

            @Setting(doc = "Weights.", value = "{}") Map<String, Double> weights,

            @Setting(
                    doc = "Maybe.",
                    value = Setting.ABSENT,
                    oldNames = {"perhaps", "possibly"})
            @Nullable
            String maybe) {}

    private static Set<Class<? extends Record>> allRecords() {
        Set<Class<? extends Record>> records = new LinkedHashSet<>();
        collect(FourfoldConfig.class, records);
        records.add(Fixture.class);
        return records;
    }

    private static void collect(Class<? extends Record> type, Set<Class<? extends Record>> records) {
        if (records.add(type)) {
            for (RecordComponent component : type.getRecordComponents()) {
                if (component.getType().isRecord()) {
                    collect(component.getType().asSubclass(Record.class), records);
                }
            }
        }
    }

    private static @Nullable Record bind(Class<? extends Record> type, String yaml, List<Problem> problems) {
        YamlNode.Mapping node = YamlParser.file("test.yaml", yaml, problems);
        return new RecordBinder(type, problems).bind(type, node, "");
    }

    @TestFactory
    Stream<DynamicTest> defaults() {
        return allRecords().stream()
                .map(type -> DynamicTest.dynamicTest(type.getSimpleName(), () -> {
                    List<Problem> problems = new ArrayList<>();
                    StringBuilder required = new StringBuilder();
                    for (RecordComponent component : type.getRecordComponents()) {
                        assertThat(SettingKeys.settingOf(component).doc())
                                .as("doc of %s", component)
                                .hasSizeGreaterThan(3)
                                .endsWith(".");
                        if (SettingKeys.settingOf(component).value().equals(Setting.REQUIRED)) {
                            required.append(sample(component, ""));
                        }
                    }
                    Record record = bind(type, required.toString(), problems);
                    assertThat(problems).isEmpty();
                    assertThat(record).isNotNull();
                    for (RecordComponent component : type.getRecordComponents()) {
                        Setting setting = SettingKeys.settingOf(component);
                        Object value = component.getAccessor().invoke(record);
                        if (setting.value().equals(Setting.ABSENT)) {
                            assertThat(value).as(component.getName()).isNull();
                        } else {
                            assertThat(value).as(component.getName()).isNotNull();
                        }
                    }
                }));
    }

    @TestFactory
    Stream<DynamicTest> fullMapping() {
        return allRecords().stream()
                .map(type -> DynamicTest.dynamicTest(type.getSimpleName(), () -> {
                    List<Problem> problems = new ArrayList<>();
                    StringBuilder yaml = new StringBuilder();
                    for (RecordComponent component : type.getRecordComponents()) {
                        yaml.append(sample(component, ""));
                    }
                    Record record = Objects.requireNonNull(bind(type, yaml.toString(), problems), problems::toString);
                    assertThat(problems).isEmpty();
                    // What was read back, written out, is what was given: every key reached its component.
                    ResolvedConfig resolved = ResolvedConfig.ofRecord(record);
                    for (RecordComponent component : type.getRecordComponents()) {
                        if (!component.getType().isRecord()) {
                            String key = SettingKeys.snakeCase(component.getName());
                            assertThat(key + ": " + resolved.values().get(key) + "\n")
                                    .isEqualTo(sample(component, ""));
                        }
                    }
                    assertThat(bind(type, resolved.yaml(), problems)).isEqualTo(record);
                    assertThat(problems).isEmpty();
                }));
    }

    @TestFactory
    Stream<DynamicTest> oldNames() {
        return allRecords().stream()
                .flatMap(type -> Stream.of(type.getRecordComponents())
                        .flatMap(component -> Stream.of(
                                        SettingKeys.settingOf(component).oldNames())
                                .map(old -> DynamicTest.dynamicTest(type.getSimpleName() + "." + old, () -> {
                                    String key = SettingKeys.snakeCase(component.getName());
                                    List<Problem> problems = new ArrayList<>();
                                    StringBuilder yaml = new StringBuilder();
                                    for (RecordComponent c : type.getRecordComponents()) {
                                        yaml.append(sample(c, ""));
                                    }
                                    Record current = bind(type, yaml.toString(), problems);
                                    assertThat(problems).isEmpty();
                                    String renamed = yaml.toString().replaceFirst("(?m)^" + key + ":", old + ":");
                                    assertThat(bind(type, renamed, problems)).isEqualTo(current);
                                    assertThat(problems).hasSize(1);
                                    assertThat(problems.get(0).isError()).isFalse();
                                    assertThat(problems.get(0).toString())
                                            .contains(old + " is an old name")
                                            .contains("rename it to " + key);
                                    problems.clear();
                                    bind(type, yaml + old + ": 1\n", problems);
                                    assertThat(problems)
                                            .anyMatch(
                                                    p -> p.isError() && p.rule().contains("also given"));
                                }))));
    }

    /** One or more YAML lines that give the component a legal value other than its default, canonically written. */
    private static String sample(RecordComponent component, String indent) {
        String key = indent + SettingKeys.snakeCase(component.getName()) + ":";
        if (component.getType().isRecord()) {
            StringBuilder lines = new StringBuilder(key).append('\n');
            for (RecordComponent inner : component.getType().getRecordComponents()) {
                lines.append(sample(inner, indent + "  "));
            }
            return lines.toString();
        }
        return key + " " + value(component.getGenericType(), SettingKeys.settingOf(component)) + "\n";
    }

    private static String value(Type type, Setting setting) {
        if (type instanceof ParameterizedType parameterized) {
            boolean list = parameterized.getRawType() == List.class;
            String inner = value(SettingKeys.argument(type, list ? 0 : 1), setting);
            return list ? "[" + inner + "]" : "{first: " + inner + ", second: " + inner + "}";
        }
        Class<?> raw = (Class<?>) type;
        if (raw == String.class) {
            return "some/text.txt";
        }
        if (raw == boolean.class) {
            return setting.value().equals("true") ? "false" : "true";
        }
        if (raw.isEnum()) {
            List<String> words = Objects.requireNonNull(SettingKeys.words(raw));
            return words.get(words.get(0).equals(setting.value()) ? words.size() - 1 : 0);
        }
        boolean real = raw == double.class || raw == Double.class;
        double chosen = Math.min(setting.max(), Math.max(setting.min(), real ? 0.375 : 7));
        return real ? Double.toString(chosen) : Long.toString((long) chosen);
    }
}
