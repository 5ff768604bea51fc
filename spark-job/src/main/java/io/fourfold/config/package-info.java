/** The configuration: records, YAML layers, and the checks that run before any work. No CUDA and no Spark type. */
@NullMarked
package io.fourfold.config;

import org.jspecify.annotations.NullMarked;
