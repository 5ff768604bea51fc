package io.fourfold.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.NullNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.PrintWriter;
import java.util.Locale;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Option;

/** What every command takes, and where it prints. */
final class CommonOptions {
    @Option(
            names = "--json",
            description = "Print the result as JSON on standard output; everything else goes to standard error.")
    boolean json;

    @Option(names = "--verbose", description = "Show the stack trace of an error.")
    boolean verbose;

    @CommandLine.Spec(CommandLine.Spec.Target.MIXEE)
    private CommandLine.Model.@Nullable CommandSpec command;

    PrintWriter out() {
        return line().getOut();
    }

    PrintWriter err() {
        return line().getErr();
    }

    private CommandLine line() {
        return Objects.requireNonNull(command, "picocli sets the command").commandLine();
    }

    /** Prints records, maps and lists as JSON with snake_case keys; numbers that are not finite become null. */
    void printJson(Object value) {
        JsonMapper mapper = JsonMapper.builder()
                .propertyNamingStrategy(PropertyNamingStrategies.SNAKE_CASE)
                .enable(SerializationFeature.INDENT_OUTPUT)
                .build();
        try {
            out().println(mapper.writeValueAsString(finite(mapper.valueToTree(value))));
            out().flush();
        } catch (JsonProcessingException e) {
            throw new IllegalStateException("a report is plain data and always serializes", e);
        }
    }

    /** JSON has no NaN, and Jackson would write it as text. */
    private static JsonNode finite(JsonNode node) {
        if (node.isFloatingPointNumber() && !Double.isFinite(node.doubleValue())) {
            return NullNode.getInstance();
        }
        if (node instanceof ObjectNode object) {
            object.properties().forEach(entry -> entry.setValue(finite(entry.getValue())));
        } else if (node instanceof ArrayNode array) {
            for (int i = 0; i < array.size(); i++) {
                array.set(i, finite(array.get(i)));
            }
        }
        return node;
    }

    /** Prints for people; nothing with {@code --json}. */
    void say(String format, Object... values) {
        if (!json) {
            out().println(String.format(Locale.ROOT, format, values));
            out().flush();
        }
    }
}
