package io.fourfold.eval;

import io.fourfold.data.Batch;

/** What validation asks of a model. */
@FunctionalInterface
public interface LossModel {
    /** Sum of the token losses of a batch in nats over the labels that count; forward only. May be collective. */
    double evaluate(Batch batch);
}
