package io.fourfold.plan;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/** A plan for machines: {@code plan.json} of a run folder and {@code fourfold plan --json}. Keys are in snake_case. */
public final class PlanJson {
    private static final ObjectMapper MAPPER = new ObjectMapper()
            .setPropertyNamingStrategy(PropertyNamingStrategies.SNAKE_CASE)
            .enable(SerializationFeature.INDENT_OUTPUT);

    private PlanJson() {}

    /** Ends in a newline. */
    public static String text(Plan plan) {
        ObjectNode tree = MAPPER.valueToTree(plan);
        ((ObjectNode) tree.get("memory")).put("total", plan.memory().total());
        ((ObjectNode) tree.get("precision"))
                .put("high_precision_share", plan.precision().highPrecisionShare());
        ((ObjectNode) tree.get("flops_per_token"))
                .put("causal_formula", FlopCount.CAUSAL_FORMULA)
                .put("full_formula", FlopCount.FULL_FORMULA);
        try {
            return MAPPER.writeValueAsString(tree) + "\n";
        } catch (JsonProcessingException e) {
            throw new IllegalStateException("a plan is plain data and always serializes", e);
        }
    }

    public static void write(Plan plan, Path file) throws IOException {
        Files.write(file, text(plan).getBytes(StandardCharsets.UTF_8));
    }
}
