package io.fourfold.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import java.util.Map;

/**
 * What a checkpoint is: {@code manifest.json}.
 *
 * @param formatVersion version of the files' layout, {@link #FORMAT_VERSION}
 * @param identity run, model and position in training
 * @param tensors global shape of every tensor by canonical name
 * @param files the ranks' index files; each names its data file and that file's hash
 */
public record CheckpointManifest(
        int formatVersion, Identity identity, Map<String, long[]> tensors, List<IndexFile> files) {
    public static final int FORMAT_VERSION = 1;

    /**
     * Where in which run a checkpoint was taken.
     *
     * @param step optimizer steps done
     * @param samples samples consumed
     * @param tokens tokens consumed
     * @param seed the run's seed
     * @param configHash SHA-256 of the resolved configuration
     * @param modelFingerprint {@link ModelFingerprint} of the model
     * @param tokenizerFingerprint the tokenizer's hash; empty when unknown
     * @param mapping degrees of parallelism by name, for information: a checkpoint loads at any other
     * @param model the model's configuration
     * @param codeVersion the program that wrote it
     * @param created ISO-8601 time
     */
    public record Identity(
            int step,
            long samples,
            long tokens,
            long seed,
            String configHash,
            String modelFingerprint,
            String tokenizerFingerprint,
            Map<String, Integer> mapping,
            JsonNode model,
            String codeVersion,
            String created) {}

    /** An index file, its length and its SHA-256. */
    public record IndexFile(String name, long bytes, String sha256) {}
}
