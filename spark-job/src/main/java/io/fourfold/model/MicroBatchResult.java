package io.fourfold.model;

import io.fourfold.metrics.StepMetrics.LayerLoad;
import java.util.List;

/**
 * What one micro-batch contributed. Everything is additive: sums over micro-batches and ranks give the step's values.
 * Reading a value waits for the device, so a trainer reads after the last micro-batch; values must be read before the
 * next {@link MoeTransformer#beginStep}.
 */
public interface MicroBatchResult {
    /** Sum of the token losses, nats. */
    double lossSum();

    /** Labels that counted, of all its tokens on every rank that holds some. */
    int labels();

    /** Load-balancing losses of all layers as added to the objective. */
    double auxLoss();

    /** Router z-losses of all layers as added to the objective. */
    double zLoss();

    /** Tokens per expert before dropping, for each MoE layer; of all its tokens on every rank that holds some. */
    List<LayerLoad> expertLoad();

    /** Slots dropped by the capacity limit, over all MoE layers. */
    long droppedSlots();

    /** Slots routed, over all MoE layers. */
    long slots();
}
