package io.fourfold.data.text;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.github.luben.zstd.Zstd;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.zip.GZIPOutputStream;
import java.util.zip.ZipException;
import org.junit.jupiter.api.Test;

class TextTest {
    @Test
    void normalizationIsOneFormAndIdempotent() {
        assertThat(TextNormalizer.normalize("a\r\nb\rc\nd")).isEqualTo("a\nb\nc\nd");
        assertThat(TextNormalizer.normalize("\uFEFFx\0y\uFEFF")).isEqualTo("xy\uFEFF");
        assertThat(TextNormalizer.normalize("e\u0301")).isEqualTo("\u00e9");
        assertThat(TextNormalizer.normalize("\0\uFEFF\r\n")).isEqualTo("\n");
        Random random = new Random(3);
        for (int trial = 0; trial < 500; trial++) {
            StringBuilder text = new StringBuilder();
            for (int i = 0; i < 12; i++) {
                text.append("a\r\n\0\uFEFF\u0301\u0323\u1E69\uAC00\u11A8".charAt(random.nextInt(10)));
            }
            String once = TextNormalizer.normalize(text.toString());
            assertThat(TextNormalizer.normalize(once)).isEqualTo(once);
        }
    }

    @Test
    void linesComeWithTheirPlaceForAnyBufferBoundary() throws IOException {
        byte[] bytes = utf8("one\r\n\ntwo\nthree");
        for (int step = 1; step <= bytes.length; step++) {
            LineReader lines = new LineReader(new Trickle(bytes, step), 100, 0);
            List<String> read = new ArrayList<>();
            while (lines.next()) {
                String line = new String(requireNonNull(lines.bytes()), 0, lines.length(), StandardCharsets.UTF_8);
                read.add(lines.number() + "@" + lines.offset() + "=" + line);
            }
            assertThat(read).containsExactly("1@0=one", "2@5=", "3@6=two", "4@10=three");
        }
    }

    @Test
    void aTooLongLineIsPassedOverAndTheNextOneIsRead() throws IOException {
        LineReader lines = new LineReader(new ByteArrayInputStream(utf8("12345\n123456\n1\n")), 5, 0);
        assertThat(lines.next() && !lines.tooLong() && lines.length() == 5).isTrue();
        assertThat(lines.next() && lines.tooLong() && lines.lineBytes() == 6).isTrue();
        assertThat(lines.bytes()).isNull();
        assertThat(lines.next() && !lines.tooLong() && lines.length() == 1).isTrue();
        assertThat(lines.next()).isFalse();
    }

    @Test
    void partsOfAFileGiveEachLineOnceWhereverItIsCut() throws IOException {
        byte[] bytes = utf8("{\"text\":\"a\"}\n{\"text\":\"bb\"}\n\n{\"text\":\"ccc\"}\n{\"text\":\"d\"}");
        for (int first = 1; first < bytes.length; first++) {
            for (int second = first; second < bytes.length; second += 3) {
                List<String> texts = new ArrayList<>();
                int[] cuts = {0, first, second, bytes.length};
                for (int part = 0; part < 3; part++) {
                    int at = Math.max(0, cuts[part] - 1);
                    LineReader lines = new LineReader(new ByteArrayInputStream(bytes, at, bytes.length - at), 100, at);
                    texts.addAll(texts(JsonLines.part(lines, "f", "text", cuts[part], cuts[part + 1])));
                }
                assertThat(texts).containsExactly("a", "bb", "ccc", "d");
            }
        }
    }

    private static List<String> texts(RecordSource source) throws IOException {
        return drain(source).stream()
                .map(record -> requireNonNull(record.text()))
                .toList();
    }

    @Test
    void eachBadRecordHasItsReason() throws IOException {
        Map<String, SkipReason> lines = new HashMap<>();
        lines.put("{\"text\": \"x\"", SkipReason.MALFORMED_JSON);
        lines.put("{\"text\": \"x\"} {}", SkipReason.MALFORMED_JSON);
        lines.put("[\"text\"]", SkipReason.MALFORMED_JSON);
        lines.put("\"text\"", SkipReason.MALFORMED_JSON);
        lines.put("{text: 1}", SkipReason.MALFORMED_JSON);
        lines.put("{\"a\": {\"text\": \"inner\"}}", SkipReason.MISSING_TEXT);
        lines.put("{\"text\": null}", SkipReason.MISSING_TEXT);
        lines.put("{\"text\": [\"x\"]}", SkipReason.MISSING_TEXT);
        for (Map.Entry<String, SkipReason> line : lines.entrySet()) {
            assertThat(records(utf8(line.getKey())).get(0).skip())
                    .as(line.getKey())
                    .isEqualTo(line.getValue());
        }
        byte[] surrogate = {'{', '"', (byte) 0xED, (byte) 0xA0, (byte) 0x80, '"', '}'};
        assertThat(records(surrogate).get(0).skip()).isEqualTo(SkipReason.INVALID_UTF8);
        String line = "\uFEFF{\"n\": [1, {\"text\": 2}], \"id\": 7, \"text\": \"\\u00e9\"}\r\n";
        assertThat(records(utf8(line))).containsExactly(RawRecord.of("f:1", "7", "\u00e9"));
    }

    @Test
    void aTextLongerThanTheParsersUsualLimitIsRead() throws IOException {
        byte[] line = utf8("{\"text\": \"" + "y".repeat(21_000_000) + "\"}");
        LineReader lines = new LineReader(new ByteArrayInputStream(line), 30_000_000, 0);
        assertThat(texts(JsonLines.whole(lines, "f", "text")).get(0)).hasSize(21_000_000);
    }

    private static List<RawRecord> records(byte[] bytes) throws IOException {
        return drain(JsonLines.whole(new LineReader(new ByteArrayInputStream(bytes), 1000, 0), "f", "text"));
    }

    private static List<RawRecord> drain(RecordSource records) throws IOException {
        List<RawRecord> result = new ArrayList<>();
        try (RecordSource source = records) {
            for (RawRecord record = source.next(); record != null; record = source.next()) {
                result.add(record);
            }
        }
        return result;
    }

    @Test
    void compressedStreamsJoinTheirMembersAndNoticeTruncation() throws IOException {
        ByteArrayOutputStream gzip = new ByteArrayOutputStream();
        int second = 0;
        for (String part : List.of("one ", "two")) {
            second = -gzip.size();
            GZIPOutputStream out = new GZIPOutputStream(gzip);
            out.write(utf8(part));
            out.finish();
            second += gzip.size();
        }
        assertThat(decompress(gzip.toByteArray(), InputKind.Compression.GZIP)).isEqualTo("one two");
        ByteArrayOutputStream zstd = new ByteArrayOutputStream();
        zstd.write(Zstd.compress(utf8("one ")));
        zstd.write(Zstd.compress(utf8("two")));
        assertThat(decompress(zstd.toByteArray(), InputKind.Compression.ZSTD)).isEqualTo("one two");
        for (int cut = 1; cut < gzip.size() / 2; cut++) {
            byte[] cutGzip = Arrays.copyOf(gzip.toByteArray(), gzip.size() - cut);
            if (cut != second) {
                assertThatThrownBy(() -> decompress(cutGzip, InputKind.Compression.GZIP))
                        .isInstanceOf(EOFException.class);
            }
        }
        byte[] flipped = gzip.toByteArray();
        flipped[gzip.size() - 6] ^= 1;
        assertThatThrownBy(() -> decompress(flipped, InputKind.Compression.GZIP))
                .isInstanceOf(ZipException.class);
        byte[] padded = Arrays.copyOf(gzip.toByteArray(), gzip.size() + 512);
        assertThat(decompress(padded, InputKind.Compression.GZIP)).isEqualTo("one two");
        byte[] frames = zstd.toByteArray();
        int first = Zstd.compress(utf8("one ")).length;
        for (int length = 0; length < frames.length; length++) {
            byte[] cutZstd = Arrays.copyOf(frames, length);
            if (length != first) {
                assertThatThrownBy(() -> decompress(cutZstd, InputKind.Compression.ZSTD))
                        .isInstanceOf(EOFException.class);
            }
        }
        assertThatThrownBy(() -> decompress(utf8("no zstd at all"), InputKind.Compression.ZSTD))
                .isInstanceOf(IOException.class);
    }

    @Test
    void largeCompressedStreamsComeBackWhole() throws IOException {
        Random random = new Random(4);
        byte[] plain = new byte[3_000_000];
        for (int i = 0; i < plain.length; i++) {
            plain[i] = (byte) (i < 1_000_000 ? random.nextInt(256) : 'a' + i / 1000 % 3);
        }
        assertThat(Decompression.wrap(new ByteArrayInputStream(Zstd.compress(plain)), InputKind.Compression.ZSTD)
                        .readAllBytes())
                .isEqualTo(plain);
        ByteArrayOutputStream gzip = new ByteArrayOutputStream();
        try (GZIPOutputStream out = new GZIPOutputStream(gzip)) {
            out.write(plain);
        }
        assertThat(Decompression.wrap(new ByteArrayInputStream(gzip.toByteArray()), InputKind.Compression.GZIP)
                        .readAllBytes())
                .isEqualTo(plain);
    }

    private static String decompress(byte[] bytes, InputKind.Compression compression) throws IOException {
        try (InputStream in = Decompression.wrap(new ByteArrayInputStream(bytes), compression)) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    @Test
    void namesTellTheKind() {
        assertThat(InputKind.of("A.JSONL.ZST"))
                .contains(new InputKind(InputKind.Format.JSONL, InputKind.Compression.ZSTD));
        assertThat(InputKind.of("a.txt.gz")).contains(new InputKind(InputKind.Format.TEXT, InputKind.Compression.GZIP));
        assertThat(InputKind.of("a.parquet"))
                .contains(new InputKind(InputKind.Format.PARQUET, InputKind.Compression.NONE));
        assertThat(InputKind.of("a.parquet.gz")).isEmpty();
        assertThat(InputKind.of("a.json")).isEmpty();
        assertThat(InputKind.of("gz")).isEmpty();
    }

    @Test
    void theSplitFollowsTheHashAndGrowsWithTheFraction() {
        int validation = 0;
        for (int i = 0; i < 20_000; i++) {
            byte[] hash = DocumentHash.of(utf8("document " + i));
            boolean small = DocumentHash.isValidation(hash, 0.05);
            assertThat(small && !DocumentHash.isValidation(hash, 0.1)).isFalse();
            validation += small ? 1 : 0;
            assertThat(DocumentHash.isValidation(hash, 0)).isFalse();
        }
        assertThat((double) validation / 20_000).isCloseTo(0.05, within(0.006));
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** Gives a few bytes at a time. */
    private static final class Trickle extends InputStream {
        private final InputStream in;
        private final int step;

        Trickle(byte[] bytes, int step) {
            this.in = new ByteArrayInputStream(bytes);
            this.step = step;
        }

        @Override
        public int read() throws IOException {
            return in.read();
        }

        @Override
        public int read(byte[] bytes, int from, int length) throws IOException {
            return in.read(bytes, from, Math.min(step, length));
        }
    }
}
