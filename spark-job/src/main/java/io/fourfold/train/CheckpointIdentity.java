package io.fourfold.train;

import com.fasterxml.jackson.databind.JsonNode;
import io.fourfold.checkpoint.CheckpointManifest;
import io.fourfold.checkpoint.ModelFingerprint;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.parallel.ParallelMapping;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Map;
import java.util.TreeMap;

/** What the checkpoints of a run say of themselves: the same but for the position in training. */
final class CheckpointIdentity {
    private final FourfoldConfig config;
    private final RunIdentity run;
    private final JsonNode model;
    private final Map<String, Integer> degrees;

    CheckpointIdentity(FourfoldConfig config, RunIdentity run, ParallelMapping mapping) {
        this.config = config;
        this.run = run;
        model = ModelFingerprint.json(config.model());
        degrees = degrees(mapping);
    }

    CheckpointManifest.Identity at(Progress progress) {
        return new CheckpointManifest.Identity(
                progress.step(),
                progress.samples(),
                progress.tokens(),
                config.train().seed(),
                run.configHash(),
                ModelFingerprint.of(model),
                run.tokenizerFingerprint(),
                degrees,
                model,
                run.codeVersion(),
                Instant.now().truncatedTo(ChronoUnit.SECONDS).toString());
    }

    private static Map<String, Integer> degrees(ParallelMapping mapping) {
        Map<String, Integer> degrees = new TreeMap<>();
        degrees.put("world", mapping.worldSize());
        degrees.put("tp", mapping.tensor());
        degrees.put("cp", mapping.context());
        degrees.put("dp", mapping.data());
        degrees.put("pp", mapping.pipeline());
        degrees.put("etp", mapping.expertTensor());
        degrees.put("ep", mapping.expert());
        degrees.put("edp", mapping.expertData());
        return degrees;
    }
}
