package io.fourfold.data.shard;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.data.DataException;
import io.fourfold.data.PreparedFiles;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.complex.ListVector;
import org.apache.arrow.vector.ipc.ArrowFileReader;
import org.apache.arrow.vector.types.pojo.ArrowType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class ShardTest {
    private static final List<int[]> DOCUMENTS =
            List.of(new int[] {1, 2, 3, 65535}, new int[] {0}, new int[] {40000, 32768, 7});

    @TempDir
    Path folder;

    @ParameterizedTest
    @EnumSource(TokenType.class)
    void arrowItselfReadsTheFile(TokenType type) throws IOException {
        write(type, DOCUMENTS);
        try (RootAllocator allocator = new RootAllocator();
                FileChannel channel = FileChannel.open(folder.resolve("a.arrow"));
                ArrowFileReader reader = new ArrowFileReader(channel, allocator)) {
            assertThat(reader.loadNextBatch()).isTrue();
            ListVector column = (ListVector) reader.getVectorSchemaRoot().getVector("tokens");
            assertThat(column.getDataVector().getField().getType())
                    .isEqualTo(new ArrowType.Int(type.bytes() * 8, type == TokenType.INT32));
            List<List<Integer>> rows = new ArrayList<>();
            for (int row = 0; row < column.getValueCount(); row++) {
                rows.add(column.getObject(row).stream()
                        .map(value -> value instanceof Character c ? (int) c : (Integer) value)
                        .toList());
            }
            assertThat(rows)
                    .containsExactlyElementsOf(DOCUMENTS.stream()
                            .map(tokens ->
                                    java.util.Arrays.stream(tokens).boxed().toList())
                            .toList());
            assertThat(reader.loadNextBatch()).isFalse();
        }
    }

    @ParameterizedTest
    @EnumSource(TokenType.class)
    void mappedShardGivesBackTokensAndOffsets(TokenType type) throws IOException {
        ShardInfo info = write(type, DOCUMENTS);
        assertThat(info.tokens()).isEqualTo(8);
        MappedShard shard = MappedShard.open(folder, info, true);
        int[] tokens = new int[8];
        shard.copyTokens(0, 8, tokens, 0);
        assertThat(tokens).containsExactly(1, 2, 3, 65535, 0, 40000, 32768, 7);
        assertThat(List.of(shard.documentOffset(0), shard.documentOffset(1), shard.documentOffset(3)))
                .containsExactly(0, 4, 8);
        assertThat(List.of(shard.documentAt(0), shard.documentAt(3), shard.documentAt(4), shard.documentAt(7)))
                .containsExactly(0, 0, 1, 2);
    }

    @Test
    void equalDocumentsGiveEqualBytesAndTheBuilderCanBeReused() throws IOException {
        ShardBuilder builder = new ShardBuilder(TokenType.UINT16);
        DOCUMENTS.forEach(builder::add);
        ByteArrayOutputStream first = new ByteArrayOutputStream();
        ShardInfo firstInfo = builder.write("x", first);
        builder.clear();
        DOCUMENTS.forEach(builder::add);
        ByteArrayOutputStream second = new ByteArrayOutputStream();
        assertThat(builder.write("x", second)).isEqualTo(firstInfo);
        assertThat(second.toByteArray()).isEqualTo(first.toByteArray());
        assertThat(builder.tokens()).isEqualTo(8);
    }

    @Test
    void manyDocumentsGrowTheBuilder() throws IOException {
        List<int[]> documents = PreparedFiles.countingShards(1, 20_000, 0).get(0);
        ShardInfo info = write(TokenType.UINT16, documents);
        MappedShard shard = MappedShard.open(folder, info, true);
        int[] all = PreparedFiles.concatenate(List.of(documents));
        int[] read = new int[shard.tokens()];
        shard.copyTokens(0, read.length, read, 0);
        assertThat(read).isEqualTo(all);
        assertThat(shard.documents()).isEqualTo(20_000);
    }

    @Test
    void aTokenThatDoesNotFitIsRefused() {
        assertThatThrownBy(() -> new ShardBuilder(TokenType.UINT16).add(new int[] {65536}))
                .isInstanceOf(DataException.class);
    }

    @Test
    void damageIsNamedWithFileValuesAndRepair() throws IOException {
        ShardInfo info = write(TokenType.UINT16, DOCUMENTS);
        Path file = folder.resolve("a.arrow");
        byte[] good = Files.readAllBytes(file);

        byte[] flipped = good.clone();
        flipped[good.length / 2] ^= 1;
        Files.write(file, flipped);
        assertThatThrownBy(() -> MappedShard.open(folder, info, true))
                .isInstanceOf(DataException.class)
                .hasMessageContaining(file.toString())
                .hasMessageContaining("expected " + info.crc32c())
                .hasMessageContaining("fourfold prepare");

        Files.write(file, new byte[10], StandardOpenOption.APPEND);
        assertThatThrownBy(() -> MappedShard.open(folder, info, false))
                .hasMessageContaining("bytes, the manifest says");

        Files.delete(file);
        assertThatThrownBy(() -> MappedShard.open(folder, info, true)).hasMessageContaining("is missing");
    }

    @Test
    void noDamagedByteEscapesAsAnotherException() throws IOException {
        ShardInfo info = write(TokenType.INT32, DOCUMENTS);
        Path file = folder.resolve("a.arrow");
        byte[] good = Files.readAllBytes(file);
        for (int i = 0; i < good.length; i++) {
            byte[] bad = good.clone();
            bad[i] ^= (byte) 0xFF;
            Files.write(file, bad);
            try {
                MappedShard.open(folder, info, false);
            } catch (DataException e) {
                assertThat(e).hasMessageContaining("a.arrow");
            }
        }
    }

    @Test
    void manifestRoundTripsAndNamesWhatIsWrong() throws IOException {
        Manifest manifest = PreparedFiles.write(
                folder, "set", "train", PreparedFiles.TOKENIZER, PreparedFiles.countingShards(2, 5, 0));
        Path split = folder.resolve("set/train");
        assertThat(ManifestFile.read(split)).isEqualTo(manifest);
        assertThat(Files.readString(split.resolve("manifest.json")))
                .contains("\"token_type\" : \"uint16\"", "\"vocab_size\" : 60000", "\"crc32c\"");
        assertThatThrownBy(() -> ManifestFile.read(folder.resolve("none")))
                .hasMessageContaining("manifest.json is missing")
                .hasMessageContaining("fourfold prepare");
        Files.writeString(split.resolve("manifest.json"), "{\"format\": \"x\"}");
        assertThatThrownBy(() -> ManifestFile.read(split)).hasMessageContaining("damaged");
        Manifest newer = new Manifest(
                Manifest.FORMAT,
                9,
                "set",
                "train",
                "p",
                PreparedFiles.TOKENIZER,
                TokenType.INT32,
                0,
                0,
                0,
                0,
                Map.of(),
                List.of());
        assertThatThrownBy(() -> ManifestFile.parse(ManifestFile.toBytes(newer), "m"))
                .hasMessageContaining("version 9");
    }

    private ShardInfo write(TokenType type, List<int[]> documents) throws IOException {
        ShardBuilder builder = new ShardBuilder(type);
        documents.forEach(builder::add);
        try (var out = Files.newOutputStream(folder.resolve("a.arrow"))) {
            return builder.write("a.arrow", out);
        }
    }
}
