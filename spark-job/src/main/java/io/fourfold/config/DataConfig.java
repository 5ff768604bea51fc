package io.fourfold.config;

import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/** From raw text to samples. */
public record DataConfig(
        @Setting(
                doc = "Raw text by data set name: files, folders or globs (JSONL plain/gz/zst, Parquet, text).",
                value = "{}")
        Map<String, List<String>> sources,

        @Setting(doc = "Field that holds the text in JSONL and Parquet.", value = "text")
        String textField,

        @Setting(doc = "Folder of the prepared shards; one subfolder per data set.", value = "data/prepared")
        String prepared,

        @Setting(doc = "bytes, tiktoken:<encoding> or the path of a Hugging Face tokenizer.json.", value = "bytes")
        String tokenizer,

        @Setting(doc = "End-of-document token; absent = the tokenizer's own.", value = Setting.ABSENT) @Nullable
        String endOfDocument,

        @Setting(
                doc = "Share of documents, chosen by their hash, that go to validation.",
                value = "0.01",
                min = 0,
                max = 0.5)
        double validationFraction,

        @Setting(doc = "Drop documents whose normalised text was seen before.", value = "true")
        boolean dedup,

        @Setting(
                doc = "Longest document in bytes of UTF-8; longer ones are skipped and counted.",
                value = "33554432",
                min = 1)
        long maxDocumentBytes,

        @Setting(doc = "Tokens per shard file.", value = "16777216", min = 1024)
        long tokensPerShard,

        @Setting(doc = "Weight of each data set in the training blend; empty = by size.", value = "{}")
        Map<String, Double> blend,

        @Setting(doc = "Attend within a document only.", value = "true")
        boolean documentMask,

        @Setting(doc = "Count rotary positions from the start of each document.", value = "false")
        boolean resetPositions,

        @Setting(doc = "No loss on predicting the first token of the next document.", value = "true")
        boolean maskDocumentStart,

        @Setting(doc = "Verify every shard's checksum when it is opened.", value = "true")
        boolean verifyChecksums) {
    public DataConfig {
        // Sorted by name, so that equal configurations list their data sets in one order.
        sources = Collections.unmodifiableSortedMap(new TreeMap<>(sources));
        blend = Collections.unmodifiableSortedMap(new TreeMap<>(blend));
    }
}
