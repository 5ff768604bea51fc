package io.fourfold.config;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Reads YAML files and {@code --set} arguments and lays them over each other: mappings merge key by key, anything else is
 * replaced by the later layer. A file's {@code include: [paths]}, relative to that file, lie below its own keys.
 */
final class YamlLayers {
    private static final String INCLUDE = "include";

    private final List<Problem> problems;
    private final Deque<Path> open = new ArrayDeque<>();
    private boolean lacksFile;

    YamlLayers(List<Problem> problems) {
        this.problems = problems;
    }

    /** True when a file could not be read, so that what its settings would have been is unknown. */
    boolean lacksFile() {
        return lacksFile;
    }

    YamlNode.Mapping load(List<Path> files, List<String> sets) {
        YamlNode.Mapping merged = YamlNode.Mapping.empty("configuration");
        for (Path file : files) {
            merged = merge(merged, file(file, "--config " + file));
        }
        return over(merged, sets);
    }

    /** Lays {@code --set} arguments over what there is. */
    YamlNode.Mapping over(YamlNode.Mapping below, List<String> sets) {
        YamlNode.Mapping merged = below;
        for (String set : sets) {
            YamlNode.Mapping layer = set(set);
            if (layer != null) {
                merged = merge(merged, layer);
            }
        }
        return merged;
    }

    private YamlNode.Mapping file(Path file, String askedBy) {
        Path identity = file.toAbsolutePath().normalize();
        if (open.contains(identity)) {
            problem(askedBy, "include goes in a circle: " + file + " is already being read", "remove one include");
            return YamlNode.Mapping.empty(file.toString());
        }
        String text = read(file, askedBy);
        if (text == null) {
            lacksFile = true;
            return YamlNode.Mapping.empty(file.toString());
        }
        YamlNode.Mapping own = YamlParser.file(file.toString(), text, problems);
        YamlNode include = own.entries().remove(INCLUDE);
        open.push(identity);
        YamlNode.Mapping below = YamlNode.Mapping.empty(file.toString());
        for (YamlNode.Scalar name : includes(include)) {
            Path parent = file.getParent();
            Path path = parent == null ? Path.of(name.text()) : parent.resolve(name.text());
            below = merge(below, file(path.normalize(), name.where()));
        }
        open.pop();
        return merge(below, own);
    }

    private List<YamlNode.Scalar> includes(@Nullable YamlNode include) {
        List<YamlNode.Scalar> names = new ArrayList<>();
        if (include == null || include.isNull()) {
            return names;
        }
        List<YamlNode> items = include instanceof YamlNode.Sequence sequence ? sequence.items() : List.of(include);
        for (YamlNode item : items) {
            if (item instanceof YamlNode.Scalar scalar && !scalar.isNull()) {
                names.add(scalar);
            } else {
                problem(item.where(), "include must be a list of paths", "write include: [path, path]");
            }
        }
        return names;
    }

    private @Nullable String read(Path file, String askedBy) {
        try {
            byte[] bytes = Files.readAllBytes(file);
            return StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(bytes))
                    .toString();
        } catch (NoSuchFileException e) {
            problem(askedBy, "there is no file " + file, similarFile(file));
        } catch (CharacterCodingException e) {
            problem(askedBy, file + " is not UTF-8", "save the file as UTF-8 text");
        } catch (IOException e) {
            String reason = Files.isDirectory(file) ? "it is a folder" : FailureReason.of(e);
            problem(askedBy, "cannot read " + file + ": " + reason, "give a YAML file that this user can read");
        }
        return null;
    }

    private static String similarFile(Path file) {
        Path folder = file.toAbsolutePath().getParent();
        if (folder == null || !Files.isDirectory(folder)) {
            return "check the folder: " + folder + " does not exist";
        }
        try (Stream<Path> files = Files.list(folder)) {
            List<String> names = files.map(f -> f.getFileName().toString())
                    .filter(n -> n.endsWith(".yaml") || n.endsWith(".yml"))
                    .sorted()
                    .toList();
            String nearest = NearestName.of(String.valueOf(file.getFileName()), names);
            if (nearest != null) {
                return "did you mean " + nearest + "?";
            }
            return names.isEmpty()
                    ? "check the path: " + folder + " has no YAML file"
                    : "there is: " + String.join(", ", names);
        } catch (IOException e) {
            return "check the path (the folder cannot be listed: " + FailureReason.of(e) + ")";
        }
    }

    /** {@code a.b=c} as a layer; null when it is malformed. */
    private YamlNode.@Nullable Mapping set(String argument) {
        String where = "--set " + argument;
        int equals = argument.indexOf('=');
        String path = equals < 0 ? "" : argument.substring(0, equals).strip();
        if (path.isEmpty() || path.startsWith(".") || path.endsWith(".") || path.contains("..")) {
            problem(where, "--set takes key.path=value", "for example --set train.steps=200");
            return null;
        }
        int before = problems.size();
        String text = argument.substring(equals + 1);
        YamlNode value = YamlParser.value(where, text, problems);
        if (text.isBlank() || value == null) {
            if (problems.size() == before) {
                problem(
                        where,
                        path + " is given no value",
                        "write " + path + "=null to take the value of lower layers away");
            }
            return null;
        }
        List<String> keys = List.of(path.split("\\.", -1));
        for (int i = keys.size() - 1; i >= 0; i--) {
            YamlNode.Mapping outer = YamlNode.Mapping.empty(where);
            outer.put(keys.get(i), value, where);
            value = outer;
        }
        return (YamlNode.Mapping) value;
    }

    private static YamlNode.Mapping merge(YamlNode.Mapping below, YamlNode.Mapping above) {
        YamlNode.Mapping merged = YamlNode.Mapping.empty(above.where());
        below.entries().forEach((key, value) -> merged.put(key, value, below.placeOf(key)));
        for (Map.Entry<String, YamlNode> entry : above.entries().entrySet()) {
            YamlNode old = merged.entries().get(entry.getKey());
            YamlNode value = entry.getValue();
            if (old instanceof YamlNode.Mapping oldMapping && value instanceof YamlNode.Mapping newMapping) {
                value = merge(oldMapping, newMapping);
            }
            merged.put(entry.getKey(), value, above.placeOf(entry.getKey()));
        }
        return merged;
    }

    private void problem(String where, String rule, String fix) {
        problems.add(Problem.error("", "", rule, fix).at(where));
    }
}
