package io.fourfold.config;

import java.io.StringReader;
import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Set;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.yaml.snakeyaml.DumperOptions;
import org.yaml.snakeyaml.LoaderOptions;
import org.yaml.snakeyaml.Yaml;
import org.yaml.snakeyaml.error.Mark;
import org.yaml.snakeyaml.error.MarkedYAMLException;
import org.yaml.snakeyaml.error.YAMLException;
import org.yaml.snakeyaml.nodes.MappingNode;
import org.yaml.snakeyaml.nodes.Node;
import org.yaml.snakeyaml.nodes.NodeTuple;
import org.yaml.snakeyaml.nodes.ScalarNode;
import org.yaml.snakeyaml.nodes.SequenceNode;

/** Turns YAML text into {@link YamlNode}s; syntax errors become problems with a line. */
final class YamlParser {
    private final Function<@Nullable Mark, String> place;
    private final List<Problem> problems;
    private final Set<Node> open = Collections.newSetFromMap(new IdentityHashMap<>());

    private YamlParser(Function<@Nullable Mark, String> place, List<Problem> problems) {
        this.place = place;
        this.problems = problems;
    }

    /** A whole file: its top level must be a mapping; an empty file is an empty one. */
    static YamlNode.Mapping file(String name, String text, List<Problem> problems) {
        YamlParser parser = new YamlParser(mark -> mark == null ? name : name + ":" + (mark.getLine() + 1), problems);
        YamlNode root = parser.parse(text);
        if (root instanceof YamlNode.Mapping mapping) {
            return mapping;
        }
        if (root != null && !root.isNull()) {
            problems.add(Problem.error(
                            "",
                            root.shown(),
                            "the top level must be a mapping such as 'train:', found " + root.shown(),
                            "nest the settings under model, recipe, parallel, data, train or run")
                    .at(root.where()));
        }
        return YamlNode.Mapping.empty(name);
    }

    /** One value, for example the right side of {@code --set} or a default; null after a syntax error. */
    static @Nullable YamlNode value(String where, String text, List<Problem> problems) {
        YamlNode node = new YamlParser(mark -> where, problems).parse(text);
        return node == null && text.isBlank() ? new YamlNode.Scalar("", true, where) : node;
    }

    private @Nullable YamlNode parse(String text) {
        LoaderOptions options = new LoaderOptions();
        options.setAllowDuplicateKeys(true); // reported by convert(), with the key's own line
        try {
            Node root = new Yaml(options).compose(new StringReader(text));
            return root == null ? null : convert(root);
        } catch (MarkedYAMLException e) {
            problems.add(Problem.error("", "", "is not valid YAML: " + e.getProblem(), "correct the syntax")
                    .at(place.apply(e.getProblemMark())));
        } catch (YAMLException e) {
            problems.add(Problem.error("", "", "is not valid YAML: " + e.getMessage(), "correct the syntax")
                    .at(place.apply(null)));
        }
        return null;
    }

    private YamlNode convert(Node node) {
        String where = place.apply(node.getStartMark());
        if (!open.add(node)) {
            problems.add(Problem.error("", "", "an alias contains itself", "write the value out")
                    .at(where));
            return new YamlNode.Scalar("", true, where);
        }
        try {
            if (node instanceof MappingNode mapping) {
                return mapping(mapping, where);
            }
            if (node instanceof SequenceNode sequence) {
                List<YamlNode> items = new ArrayList<>();
                for (Node item : sequence.getValue()) {
                    items.add(convert(item));
                }
                return new YamlNode.Sequence(items, where);
            }
            ScalarNode scalar = (ScalarNode) node;
            return new YamlNode.Scalar(
                    scalar.getValue(), scalar.getScalarStyle() == DumperOptions.ScalarStyle.PLAIN, where);
        } finally {
            open.remove(node);
        }
    }

    private YamlNode mapping(MappingNode node, String where) {
        YamlNode.Mapping mapping = YamlNode.Mapping.empty(where);
        for (NodeTuple tuple : node.getValue()) {
            String keyPlace = place.apply(tuple.getKeyNode().getStartMark());
            if (!(tuple.getKeyNode() instanceof ScalarNode key)) {
                problems.add(Problem.error("", "", "a key must be plain text", "write the key as a word")
                        .at(keyPlace));
                continue;
            }
            if (mapping.entries().containsKey(key.getValue())) {
                problems.add(Problem.error(
                                "",
                                "",
                                "key " + key.getValue() + " is given twice, first at "
                                        + mapping.placeOf(key.getValue()),
                                "remove one of the two")
                        .at(keyPlace));
                continue;
            }
            mapping.put(key.getValue(), convert(tuple.getValueNode()), keyPlace);
        }
        return mapping;
    }
}
