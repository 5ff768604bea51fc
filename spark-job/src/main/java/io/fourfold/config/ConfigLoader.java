package io.fourfold.config;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Makes a {@link FourfoldConfig} of YAML layers and overrides. Everything wrong is found in one pass: syntax, unknown keys,
 * types, ranges and combinations.
 */
public final class ConfigLoader {
    /**
     * A sound configuration.
     *
     * @param warnings what is legal but probably not meant
     * @param provenance where every setting got its value from: file:line, the {@code --set} argument or {@code default}
     */
    public record Loaded(FourfoldConfig config, List<Problem> warnings, Map<String, String> provenance) {
        public Loaded {
            warnings = List.copyOf(warnings);
            provenance = Collections.unmodifiableMap(new LinkedHashMap<>(provenance));
        }

        /** The same problems, each with the place its setting was given at. */
        public ConfigException located(ConfigException refused) {
            return new ConfigException(refused.problems().stream()
                    .map(p -> p.where().isEmpty() ? p.at(provenance.getOrDefault(p.key(), "")) : p)
                    .toList());
        }
    }

    private ConfigLoader() {}

    /**
     * @param files YAML layers; a later file overrides an earlier one key by key
     * @param sets {@code key.path=value}, over all files; the value is YAML text
     * @throws ConfigException with every error and warning found
     */
    public static Loaded load(List<Path> files, List<String> sets) {
        List<Problem> problems = new ArrayList<>();
        YamlLayers layers = new YamlLayers(problems);
        YamlNode.Mapping root = layers.load(files, sets);
        return bind(root, problems, layers.lacksFile());
    }

    /**
     * As {@link #load}, from text.
     *
     * @param name what messages call it
     */
    public static Loaded parse(String name, String yaml) {
        return parse(name, yaml, List.of());
    }

    /** As above with {@code key.path=value} settings over the text. */
    public static Loaded parse(String name, String yaml, List<String> sets) {
        List<Problem> problems = new ArrayList<>();
        YamlNode.Mapping root = new YamlLayers(problems).over(YamlParser.file(name, yaml, problems), sets);
        return bind(root, problems, false);
    }

    /**
     * @param lacksFile what is missing may be in the file that could not be read
     */
    private static Loaded bind(YamlNode.Mapping root, List<Problem> problems, boolean lacksFile) {
        RecordBinder binder = new RecordBinder(FourfoldConfig.class, problems);
        FourfoldConfig config = binder.bind(FourfoldConfig.class, root, "");
        for (Problem problem : ConfigRules.problems(ConfigRules.Sections.of(binder.records()))) {
            problems.add(problem.at(place(problem.key(), binder.places())));
        }
        if (lacksFile) {
            problems.removeIf(problem -> problem.rule().equals(RecordBinder.NOT_GIVEN));
        }
        if (config == null || problems.stream().anyMatch(Problem::isError)) {
            throw new ConfigException(problems);
        }
        return new Loaded(config, problems, binder.leaves());
    }

    /** The place of a key, or of the nearest record around it that was written somewhere. */
    static String place(String key, Map<String, String> places) {
        @Nullable String at = key;
        while (at != null) {
            String place = places.get(at);
            if (place != null) {
                return place;
            }
            int dot = at.lastIndexOf('.');
            at = dot < 0 ? null : at.substring(0, dot);
        }
        return "";
    }
}
