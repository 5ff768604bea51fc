package io.fourfold.hf;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class SafetensorsTest {
    @TempDir
    Path folder;

    private Path file;

    @BeforeEach
    void name() {
        file = folder.resolve("x.safetensors");
    }

    private record Values(String name, long[] shape, float[] values) implements SafetensorsWriter.Source {
        @Override
        public float[] rows(long first, long count) {
            int row = shape.length == 0 ? 1 : (int) (values.length / shape[0]);
            float[] part = new float[(int) count * row];
            System.arraycopy(values, (int) first * row, part, 0, part.length);
            return part;
        }
    }

    private static float[] counting(int n) {
        float[] values = new float[n];
        for (int i = 0; i < n; i++) {
            values[i] = i - 7.5f;
        }
        return values;
    }

    @Test
    void writesAndReadsEveryShape() throws IOException {
        List<Values> tensors = List.of(
                new Values("scalar", new long[0], new float[] {3.25f}),
                new Values("empty", new long[] {0, 4}, new float[0]),
                new Values("vector", new long[] {5}, counting(5)),
                new Values("cube", new long[] {3, 4, 5}, counting(60)));
        SafetensorsWriter.write(file, tensors, SafetensorsType.F32, Map.of("format", "pt"));
        try (SafetensorsReader reader = SafetensorsReader.open(file)) {
            assertThat(reader.names()).containsExactly("scalar", "empty", "vector", "cube");
            assertThat(reader.metadata()).containsExactly(Map.entry("format", "pt"));
            for (Values tensor : tensors) {
                assertThat(reader.shape(tensor.name())).containsExactly(tensor.shape());
                assertThat(reader.readWhole(tensor.name())).containsExactly(tensor.values());
            }
        }
        ByteBuffer start = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
        assertThat(start.getLong() % 8).as("data is aligned").isZero();
    }

    @Test
    void readsAnyBox() throws IOException {
        SafetensorsWriter.write(
                file, List.of(new Values("cube", new long[] {3, 4, 5}, counting(60))), SafetensorsType.F32, Map.of());
        try (SafetensorsReader reader = SafetensorsReader.open(file)) {
            for (int mask = 0; mask < 64; mask++) {
                long[] offset = {mask & 1, mask >> 1 & 1, mask >> 2 & 1};
                long[] extent = {2 - (mask >> 3 & 1), 3 - (mask >> 4 & 1), 4 - (mask >> 5 & 1)};
                float[] box = reader.read("cube", offset, extent);
                int at = 0;
                for (long i = offset[0]; i < offset[0] + extent[0]; i++) {
                    for (long j = offset[1]; j < offset[1] + extent[1]; j++) {
                        for (long k = offset[2]; k < offset[2] + extent[2]; k++) {
                            assertThat(box[at++]).isEqualTo((i * 4 + j) * 5 + k - 7.5f);
                        }
                    }
                }
                assertThat(at).isEqualTo(box.length);
            }
            assertThatThrownBy(() -> reader.read("cube", new long[] {2, 0, 0}, new long[] {2, 1, 1}))
                    .hasMessageContaining("does not lie in tensor cube [3, 4, 5]");
        }
    }

    @ParameterizedTest
    @CsvSource({
        "0x1.0p0,       0x1.0p0",
        "0x1.01p0,      0x1.0p0", // a tie goes to the even neighbour
        "0x1.03p0,      0x1.04p0",
        "0x1.010002p0,  0x1.02p0",
        "0x1.fffffep127, Infinity",
        "-0x1.8p-132,   -0x1.8p-132", // subnormal,
        "NaN,           NaN",
        "-0.0,          -0.0"
    })
    void bfloatRoundsToNearestEven(float value, float expected) throws IOException {
        SafetensorsWriter.write(
                file, List.of(new Values("x", new long[] {1}, new float[] {value})), SafetensorsType.BF16, Map.of());
        try (SafetensorsReader reader = SafetensorsReader.open(file)) {
            assertThat(reader.readWhole("x")).containsExactly(expected);
        }
    }

    @Test
    void everyHalfIsExact() throws IOException {
        ByteBuffer data = ByteBuffer.allocate(2 << 16).order(ByteOrder.LITTLE_ENDIAN);
        for (int bits = 0; bits < 1 << 16; bits++) {
            data.putShort((short) bits);
        }
        write("{\"h\":{\"dtype\":\"F16\",\"shape\":[65536],\"data_offsets\":[0,131072]}}", data.array());
        try (SafetensorsReader reader = SafetensorsReader.open(file)) {
            float[] values = reader.readWhole("h");
            for (int bits = 0; bits < 1 << 16; bits++) {
                int exponent = bits >> 10 & 31;
                double fraction = (bits & 1023) / 1024.0;
                double magnitude = exponent == 31
                        ? fraction == 0 ? Double.POSITIVE_INFINITY : Double.NaN
                        : exponent == 0 ? fraction * 0x1p-14 : (1 + fraction) * Math.scalb(1.0, exponent - 15);
                assertThat((double) values[bits]).isEqualTo(Double.valueOf(bits >> 15 == 0 ? magnitude : -magnitude));
            }
        }
    }

    /** Mapped windows are 1 GiB; the file is sparse and unaligned, so that one element lies across their border. */
    @Test
    void readsAcrossMappedWindows() throws IOException {
        long elements = (1L << 28) + 1000;
        String header =
                "{\"x\":{\"dtype\":\"F32\",\"shape\":[" + elements + "],\"data_offsets\":[0," + elements * 4 + "]}}";
        header += " ".repeat((11 - header.length() % 4) % 4);
        assertThat((8 + header.length()) % 4).isEqualTo(3);
        writeRaw(header.getBytes(StandardCharsets.UTF_8), header.length(), new byte[0]);
        long start = 8 + header.length();
        long first = ((1L << 30) - start) / 4 - 5;
        ByteBuffer values = ByteBuffer.allocate(4 * 12).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < 12; i++) {
            values.putFloat(i + 0.5f);
        }
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
            channel.write(values.flip(), start + first * 4);
            channel.write(ByteBuffer.wrap(new byte[1]), start + elements * 4 - 1);
        }
        try (SafetensorsReader reader = SafetensorsReader.open(file)) {
            float[] read = reader.read("x", new long[] {first - 1}, new long[] {14});
            assertThat(read)
                    .containsExactly(0, .5f, 1.5f, 2.5f, 3.5f, 4.5f, 5.5f, 6.5f, 7.5f, 8.5f, 9.5f, 10.5f, 11.5f, 0);
        }
    }

    private void write(String header, byte[] data) throws IOException {
        writeRaw(header.getBytes(StandardCharsets.UTF_8), header.length(), data);
    }

    private void writeRaw(byte[] header, long length, byte[] data) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.write(ByteBuffer.allocate(8)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(length)
                .array());
        out.write(header);
        out.write(data);
        Files.write(file, out.toByteArray());
    }

    private void assertRefused(String... parts) {
        assertThatThrownBy(() -> SafetensorsReader.open(file))
                .isInstanceOf(HfException.class)
                .hasMessageContaining("x.safetensors")
                .hasMessageContainingAll(parts);
    }

    @Test
    void overlapsHolesAndBadSizesAreAllNamed() throws IOException {
        write(
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                        + "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]},"
                        + "\"c\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[16,20]}}",
                new byte[20]);
        assertRefused("tensor b starts at byte 4 and overlaps", "bytes 12..16 before tensor c belong to no tensor");
        write(
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]},"
                        + "\"b\":{\"dtype\":\"Q4\",\"shape\":[2],\"data_offsets\":[0,8]},"
                        + "\"c\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,8]},"
                        + "\"d\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,8]},"
                        + "\"e\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,4]}}",
                new byte[8]);
        assertRefused(
                "tensor a: F32[3] takes 12 bytes but data_offsets [0, 8] span 8",
                "tensor b: unknown dtype Q4",
                "tensor c: negative size",
                "tensor d: long overflow",
                "tensor e: data_offsets [8, 4] are no range");
    }

    @Test
    void truncatedAndLongerFiles() throws IOException {
        String header = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
        write(header, new byte[7]);
        assertRefused("need 8 bytes of data, the file has 7: it is truncated");
        write(header, new byte[9]);
        assertRefused("end at byte 8 but the file has 9");
        byte[] whole = header.getBytes(StandardCharsets.UTF_8);
        writeRaw(whole, whole.length + 1, new byte[0]);
        assertRefused("truncated");
        Files.write(file, new byte[5]);
        assertRefused("has 5 bytes");
    }

    @Test
    void hugeAndMalformedHeaders() throws IOException {
        writeRaw(new byte[0], -1, new byte[0]);
        assertRefused("claims 18446744073709551615 bytes");
        writeRaw(new byte[0], 100_000_001, new byte[0]);
        assertRefused("claims 100000001 bytes");
        write("[1,2]", new byte[0]);
        assertRefused("not a JSON object");
        write("{\"a\":", new byte[0]);
        assertRefused("not valid JSON");
        write(
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
                        + "\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}",
                new byte[0]);
        assertRefused("Duplicate field 'a'");
        writeRaw(new byte[] {'{', '"', (byte) 0xff, '"', ':', '1', '}'}, 7, new byte[0]);
        assertRefused("not UTF-8");
    }

    @Test
    void otherTypesMayBeThereButAreNotRead() throws IOException {
        write("{\"ids\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}", new byte[8]);
        try (SafetensorsReader reader = SafetensorsReader.open(file)) {
            assertThatThrownBy(() -> reader.readWhole("ids")).hasMessageContaining("tensor ids is I64");
            assertThatThrownBy(() -> reader.readWhole("none")).hasMessageContaining("has no tensor none");
        }
    }
}
