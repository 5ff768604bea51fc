package io.fourfold.data;

import io.fourfold.data.shard.Manifest;
import io.fourfold.data.shard.ManifestFile;
import io.fourfold.data.shard.ShardBuilder;
import io.fourfold.data.shard.ShardInfo;
import io.fourfold.data.shard.TokenType;
import io.fourfold.data.shard.TokenizerInfo;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Writes small prepared data sets for tests. */
public final class PreparedFiles {
    public static final TokenizerInfo TOKENIZER = new TokenizerInfo("test", "f".repeat(64), 60_000, 256);

    private PreparedFiles() {}

    /** Writes {@code shards}, a list of documents each, as one split. */
    public static Manifest write(
            Path prepared, String dataSet, String split, TokenizerInfo tokenizer, List<List<int[]>> shards) {
        try {
            Path folder = Files.createDirectories(prepared.resolve(dataSet).resolve(split));
            TokenType type = TokenType.of(tokenizer.vocabSize());
            List<ShardInfo> entries = new ArrayList<>();
            for (List<int[]> documents : shards) {
                ShardBuilder builder = new ShardBuilder(type);
                documents.forEach(builder::add);
                String file = String.format("%05d.arrow", entries.size());
                try (OutputStream out = Files.newOutputStream(folder.resolve(file))) {
                    entries.add(builder.write(file, out));
                }
            }
            Manifest manifest = new Manifest(
                    Manifest.FORMAT,
                    Manifest.VERSION,
                    dataSet,
                    split,
                    "plan",
                    tokenizer,
                    type,
                    entries.stream().mapToLong(ShardInfo::documents).sum(),
                    entries.stream().mapToLong(ShardInfo::tokens).sum(),
                    0,
                    0,
                    Map.of(),
                    entries);
            Files.write(folder.resolve(Manifest.FILE), ManifestFile.toBytes(manifest));
            return manifest;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** {@code shards} shards of documents that end with 256, lengths from 1 to 40, tokens counting up from 300. */
    public static List<List<int[]>> countingShards(int shards, int documentsPerShard, int start) {
        List<List<int[]>> result = new ArrayList<>();
        int value = start;
        for (int shard = 0; shard < shards; shard++) {
            List<int[]> documents = new ArrayList<>();
            for (int document = 0; document < documentsPerShard; document++) {
                int[] tokens = new int[1 + (document * 7 + shard * 3 + start) % 40];
                for (int i = 0; i < tokens.length - 1; i++) {
                    tokens[i] = 300 + value++ % 50_000;
                }
                tokens[tokens.length - 1] = 256;
                documents.add(tokens);
            }
            result.add(documents);
        }
        return result;
    }

    /** All tokens in order. */
    public static int[] concatenate(List<List<int[]>> shards) {
        return shards.stream()
                .flatMap(List::stream)
                .flatMapToInt(java.util.Arrays::stream)
                .toArray();
    }
}
