package io.fourfold.hf;

import io.fourfold.config.ModelConfig;

/**
 * What an import wrote.
 *
 * @param model the model's configuration
 * @param modelFile YAML layer with it, relative to the run folder
 * @param checkpoint full path of the checkpoint
 * @param parameters weights in it
 */
public record ImportReport(ModelConfig model, String modelFile, String checkpoint, long parameters) {}
