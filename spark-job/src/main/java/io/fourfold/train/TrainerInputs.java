package io.fourfold.train;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.BatchReader;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.metrics.MetricsSink;
import org.jspecify.annotations.Nullable;

/**
 * What one rank trains with. The trainer closes none of it.
 *
 * @param train the run's sample stream
 * @param validation held-out samples, or null
 * @param sink where rank 0 reports; the other ranks give {@link io.fourfold.metrics.Sinks#none}
 * @param run the run folder, shared by all ranks
 * @param flopsPerToken model FLOPs of forward and backward per token, causal count; NaN when unknown
 */
public record TrainerInputs(
        FourfoldConfig config,
        Backend backend,
        CommunicationWorld world,
        BatchReader train,
        @Nullable BatchReader validation,
        MetricsSink sink,
        RunStorage run,
        RunIdentity identity,
        double flopsPerToken) {}
