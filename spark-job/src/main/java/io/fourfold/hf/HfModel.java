package io.fourfold.hf;

import io.fourfold.checkpoint.GlobalTensorSource;
import io.fourfold.config.ModelConfig;

/** A Hugging Face folder opened for import. */
public record HfModel(ModelConfig config, GlobalTensorSource tensors) implements AutoCloseable {
    @Override
    public void close() {
        tensors.close();
    }
}
