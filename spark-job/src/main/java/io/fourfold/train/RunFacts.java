package io.fourfold.train;

import io.fourfold.config.FourfoldConfig;
import io.fourfold.config.TrainConfig;
import io.fourfold.model.Parameter;
import io.fourfold.model.Piece;
import io.fourfold.parallel.ParallelMapping;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/** The table at the head of a run. */
final class RunFacts {
    private RunFacts() {}

    /** Collective. */
    static Map<String, String> of(
            TrainerInputs inputs, TrainableModel model, ParallelMapping mapping, WorldAgreement agreement) {
        FourfoldConfig config = inputs.config();
        TrainConfig train = config.train();
        long tokens = (long) train.steps() * train.globalBatchSize() * train.sequenceLength();
        Map<String, String> facts = new LinkedHashMap<>();
        facts.put("run", config.run().name());
        facts.put("folder", inputs.run().location());
        facts.put("model", config.model().name());
        facts.put("parameters", "%,d".formatted(parameters(model, agreement)));
        facts.put("recipe", config.recipe().kind().name().toLowerCase(Locale.ROOT));
        facts.put("backend", inputs.backend().description());
        facts.put("ranks", ranks(mapping));
        facts.put(
                "batch",
                train.globalBatchSize() + " x " + train.sequenceLength() + " tokens, micro-batch "
                        + train.microBatchSize());
        facts.put("steps", Integer.toString(train.steps()));
        facts.put("tokens", "%,d".formatted(tokens));
        facts.put("seed", Long.toString(train.seed()));
        facts.put("config", inputs.identity().configHash());
        return facts;
    }

    private static String ranks(ParallelMapping mapping) {
        StringBuilder text =
                new StringBuilder().append(mapping.worldSize()).append(" (DP").append(mapping.data());
        append(text, " TP", mapping.tensor());
        append(text, " CP", mapping.context());
        append(text, " PP", mapping.pipeline());
        text.append(" | EP").append(mapping.expert()).append(" EDP").append(mapping.expertData());
        append(text, " ETP", mapping.expertTensor());
        return text.append(')').toString();
    }

    private static void append(StringBuilder text, String name, int degree) {
        if (degree > 1) {
            text.append(name).append(degree);
        }
    }

    /** Elements of the distinct global tensors that some rank holds parts of. */
    private static long parameters(TrainableModel model, WorldAgreement agreement) {
        Map<String, Long> sizes = new TreeMap<>();
        for (Parameter parameter : model.parameters().parameters()) {
            for (Piece piece : parameter.pieces()) {
                long elements = 1;
                for (long extent : piece.globalShape()) {
                    elements *= extent;
                }
                sizes.put(piece.name(), elements);
            }
        }
        StringBuilder mine = new StringBuilder();
        sizes.forEach((name, elements) ->
                mine.append(name).append('\t').append(elements).append('\n'));
        for (String rank : agreement.gather(mine.toString())) {
            rank.lines().map(line -> line.split("\t", -1)).forEach(f -> sizes.put(f[0], Long.parseLong(f[1])));
        }
        return sizes.values().stream().mapToLong(Long::longValue).sum();
    }
}
