/** Hugging Face checkpoints: safetensors, names, config.json. */
@NullMarked
package io.fourfold.hf;

import org.jspecify.annotations.NullMarked;
