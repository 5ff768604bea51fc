package io.fourfold.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.data.shard.Manifest;
import io.fourfold.data.shard.TokenizerInfo;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ReadersTest {
    private static final int LENGTH = 16;

    @TempDir
    Path prepared;

    @Test
    void validationSamplesAreTheStreamInOrderAcrossShardBorders() {
        List<List<int[]>> shards = PreparedFiles.countingShards(5, 9, 0);
        PreparedFiles.write(prepared, "a", Manifest.VALIDATION, PreparedFiles.TOKENIZER, shards);
        int[] stream = PreparedFiles.concatenate(shards);
        try (BatchReader reader = Readers.open(prepared, Manifest.VALIDATION, ReaderOptions.of(LENGTH, 1))) {
            int samples = (stream.length - 1) / LENGTH;
            assertThat(reader.samplesPerEpoch()).isEqualTo(samples);
            Batch batch = reader.read(0, samples, 100);
            assertThat(batch.tokens()).isEqualTo(Arrays.copyOf(stream, samples * LENGTH));
            for (int i = 0; i < samples * LENGTH; i++) {
                assertThat(batch.labels()[i]).isEqualTo(stream[i] == 256 ? -1 : stream[i + 1]);
                assertThat(batch.rowIds()[i]).isEqualTo(100 + i);
            }
            assertThat(reader.read(samples, 1, 0).tokens()).isEqualTo(Arrays.copyOf(stream, LENGTH));
        }
    }

    @Test
    void documentStartsAndPositionsFollowTheOptions() {
        List<List<int[]>> shards =
                List.of(List.of(new int[] {1, 2, 256}, new int[] {256}), List.of(new int[] {3, 4, 5, 6, 256}));
        PreparedFiles.write(prepared, "a", Manifest.VALIDATION, PreparedFiles.TOKENIZER, shards);
        ReaderOptions options = ReaderOptions.of(8, 1);
        Batch masked = read(options);
        assertThat(masked.tokens()).containsExactly(1, 2, 256, 256, 3, 4, 5, 6);
        assertThat(masked.documentStart()).containsExactly(0, 0, 0, 3, 4, 4, 4, 4);
        assertThat(masked.positions()).containsExactly(0, 1, 2, 3, 4, 5, 6, 7);
        assertThat(masked.labels()).containsExactly(2, 256, -1, -1, 4, 5, 6, 256);

        Batch reset = read(options.withDocuments(true, true, false));
        assertThat(reset.positions()).containsExactly(0, 1, 2, 0, 0, 1, 2, 3);
        assertThat(reset.labels()).containsExactly(2, 256, 256, 3, 4, 5, 6, 256);

        Batch plain = read(options.withDocuments(false, false, false));
        assertThat(plain.documentStart()).containsOnly(0);
        assertThat(plain.positions()).containsExactly(0, 1, 2, 3, 4, 5, 6, 7);
    }

    private Batch read(ReaderOptions options) {
        try (BatchReader reader = Readers.open(prepared, Manifest.VALIDATION, options)) {
            return reader.read(0, 1, 0);
        }
    }

    @Test
    void anEpochHoldsEverySampleOnceAndTheNextHasAnotherOrder() {
        List<List<int[]>> shards = PreparedFiles.countingShards(4, 30, 0);
        PreparedFiles.write(prepared, "a", Manifest.TRAIN, PreparedFiles.TOKENIZER, shards);
        try (BatchReader reader = Readers.open(prepared, Manifest.TRAIN, ReaderOptions.of(LENGTH, 1))) {
            int samples = Math.toIntExact(reader.samplesPerEpoch());
            Set<List<Integer>> first = samples(reader, 0, samples);
            assertThat(first).hasSize(samples).isEqualTo(samples(reader, samples, samples));
            assertThat(reader.read(0, samples, 0).tokens())
                    .isNotEqualTo(reader.read(samples, samples, 0).tokens());
        }
    }

    private static Set<List<Integer>> samples(BatchReader reader, long from, int count) {
        Set<List<Integer>> result = new HashSet<>();
        for (int i = 0; i < count; i++) {
            result.add(
                    Arrays.stream(reader.read(from + i, 1, 0).tokens()).boxed().toList());
        }
        return result;
    }

    @Test
    void anySplitOfTheGlobalBatchOverRanksReadsTheSameSamples() {
        writeTwoSets();
        ReaderOptions options = ReaderOptions.of(LENGTH, 5).withBlend(Map.of("a", 0.3, "b", 0.7));
        try (BatchReader reader = Readers.open(prepared, Manifest.TRAIN, options);
                BatchReader other = Readers.open(prepared, Manifest.TRAIN, options)) {
            int global = 12;
            for (int step = 0; step < 20; step++) {
                long first = (long) step * global;
                Batch whole = reader.read(first, global, 0);
                for (int ranks : new int[] {2, 3, 4}) {
                    int each = global / ranks;
                    for (int rank = 0; rank < ranks; rank++) {
                        int at = rank * each * LENGTH;
                        Batch part = other.read(first + (long) rank * each, each, at);
                        int end = at + each * LENGTH;
                        assertThat(part.tokens()).isEqualTo(Arrays.copyOfRange(whole.tokens(), at, end));
                        assertThat(part.labels()).isEqualTo(Arrays.copyOfRange(whole.labels(), at, end));
                        assertThat(part.rowIds()).isEqualTo(Arrays.copyOfRange(whole.rowIds(), at, end));
                    }
                }
            }
        }
    }

    @Test
    void dataSetsOfABlendHaveTheirOwnEpochs() {
        writeTwoSets();
        long inSmall;
        try (BatchReader small = Readers.open(
                prepared, Manifest.TRAIN, ReaderOptions.of(LENGTH, 5).withBlend(Map.of("a", 1.0)))) {
            inSmall = small.samplesPerEpoch();
            Set<List<Integer>> all = samples(small, 0, (int) inSmall);
            try (BatchReader both = Readers.open(
                    prepared, Manifest.TRAIN, ReaderOptions.of(LENGTH, 5).withBlend(Map.of("a", 0.5, "b", 0.5)))) {
                assertThat(samples(both, 0, (int) (2 * inSmall))).containsAll(all);
                assertThat(both.samplesPerEpoch()).isGreaterThan(inSmall);
            }
        }
    }

    private void writeTwoSets() {
        PreparedFiles.write(
                prepared, "a", Manifest.TRAIN, PreparedFiles.TOKENIZER, PreparedFiles.countingShards(2, 12, 0));
        PreparedFiles.write(
                prepared, "b", Manifest.TRAIN, PreparedFiles.TOKENIZER, PreparedFiles.countingShards(3, 31, 17));
    }

    @Test
    void whatDoesNotMatchIsRefusedWithBothSides() {
        writeTwoSets();
        ReaderOptions options = ReaderOptions.of(LENGTH, 1);
        assertThatThrownBy(() -> Readers.open(prepared, Manifest.TRAIN, options.withChecks("abc", 0)))
                .isInstanceOf(DataException.class)
                .hasMessageContaining("fingerprint " + PreparedFiles.TOKENIZER.fingerprint())
                .hasMessageContaining("fingerprint abc");
        assertThatThrownBy(() -> Readers.open(prepared, Manifest.TRAIN, options.withChecks(null, 256)))
                .hasMessageContaining("ids up to 59999")
                .hasMessageContaining("vocab_size is 256");
        assertThatThrownBy(() -> Readers.open(prepared, Manifest.VALIDATION, options))
                .hasMessageContaining("'validation'");
        assertThatThrownBy(
                        () -> Readers.open(prepared, Manifest.TRAIN, options.withBlend(Map.of("a", 1.0, "typo", 1.0))))
                .hasMessageContaining("typo");
        assertThatThrownBy(() -> Readers.open(prepared, Manifest.TRAIN, ReaderOptions.of(100_000, 1)))
                .hasMessageContaining("sequence_length");
        TokenizerInfo other = new TokenizerInfo("other", "e".repeat(64), 257, 256);
        PreparedFiles.write(prepared, "c", Manifest.TRAIN, other, PreparedFiles.countingShards(1, 9, 0));
        assertThatThrownBy(() -> Readers.open(prepared, Manifest.TRAIN, options))
                .hasMessageContaining("different tokenizers");
    }

    @Test
    void aDamagedShardIsFoundWhenItIsTouched() throws Exception {
        PreparedFiles.write(
                prepared, "a", Manifest.TRAIN, PreparedFiles.TOKENIZER, PreparedFiles.countingShards(2, 30, 0));
        Path shard = prepared.resolve("a/train/00001.arrow");
        byte[] bytes = Files.readAllBytes(shard);
        bytes[bytes.length / 2] ^= 4;
        Files.write(shard, bytes);
        try (BatchReader reader = Readers.open(prepared, Manifest.TRAIN, ReaderOptions.of(LENGTH, 1))) {
            assertThatThrownBy(() -> reader.read(0, (int) reader.samplesPerEpoch(), 0))
                    .isInstanceOf(DataException.class)
                    .hasMessageContaining("00001.arrow");
        }
        Files.delete(shard);
        assertThatThrownBy(() -> Readers.open(prepared, Manifest.TRAIN, ReaderOptions.of(LENGTH, 1)))
                .hasMessageContaining("00001.arrow is missing");
    }
}
