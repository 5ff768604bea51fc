package io.fourfold.spark.prep;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.github.luben.zstd.ZstdOutputStream;
import io.fourfold.config.DataConfig;
import io.fourfold.data.Batch;
import io.fourfold.data.BatchReader;
import io.fourfold.data.DataException;
import io.fourfold.data.ReaderOptions;
import io.fourfold.data.Readers;
import io.fourfold.data.shard.Manifest;
import io.fourfold.data.shard.ManifestFile;
import io.fourfold.data.shard.TokenStream;
import io.fourfold.data.tokenize.Tokenizer;
import io.fourfold.data.tokenize.Tokenizers;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Stream;
import java.util.zip.GZIPOutputStream;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class PrepareJobTest {
    private static SparkSession spark;

    @TempDir
    Path folder;

    @BeforeAll
    static void startSpark() {
        spark = SparkSession.builder()
                .master("local[2]")
                .appName("prepare-test")
                .config("spark.ui.enabled", false)
                .config("spark.sql.warehouse.dir", System.getProperty("java.io.tmpdir") + "/fourfold-warehouse")
                .config("spark.driver.bindAddress", "127.0.0.1")
                .config("spark.driver.host", "127.0.0.1")
                .getOrCreate();
    }

    @AfterAll
    static void stopSpark() {
        spark.stop();
    }

    @Test
    void everyKindOfInputBecomesTokensThatDecodeToItsText() throws Exception {
        write("in/a.jsonl", "{\"text\": \"first\\r\\nline\", \"id\": \"one\"}\n\n{\"text\": \"second\"}\n");
        try (OutputStream out = new GZIPOutputStream(create("in/b.jsonl.gz"))) {
            out.write("{\"text\": \"third\"}".getBytes(StandardCharsets.UTF_8));
        }
        try (OutputStream out = new ZstdOutputStream(create("in/c.jsonl.zst"))) {
            out.write("{\"text\": \"e\\u0301t\\u00e9\"}\n".getBytes(StandardCharsets.UTF_8));
        }
        write("in/d.txt", "\uFEFFa whole file\n");
        spark.sql("select 'from parquet' as text, 'p1' as id union all select null, 'p2'")
                .coalesce(1)
                .write()
                .parquet(folder.resolve("in/e").toString());
        write("in/notes.md", "not an input");

        PrepareReport report = run(config(0, 1 << 20, folder.resolve("in").toString()));

        assertThat(texts(Manifest.TRAIN))
                .containsExactlyInAnyOrder(
                        "first\nline", "second", "third", "\u00e9t\u00e9", "a whole file\n", "from parquet");
        PrepareReport.DataSetReport set = report.dataSets().get(0);
        assertThat(set.inputFiles()).isEqualTo(5);
        assertThat(set.documents()).isEqualTo(6);
        assertThat(set.skipped()).isEqualTo(Map.of("missing_text", 1L));
        assertThat(set.line()).contains("set: 6 documents", "missing_text=1");

        List<Row> table = spark.read()
                .parquet(folder.resolve("out/set/tokens").toString())
                .orderBy("shard", "row")
                .collectAsList();
        assertThat(table.stream().map(row -> row.getString(row.fieldIndex("document_id"))))
                .contains("one", "a.jsonl:3", "b.jsonl.gz:1", "d.txt", "p1");
        assertThat(table.stream()
                        .mapToLong(row -> row.getInt(row.fieldIndex("token_count")))
                        .sum())
                .isEqualTo(set.tokens());
        assertThat(table.get(0).getList(table.get(0).fieldIndex("tokens"))).endsWith(256);
    }

    @Test
    void duplicatesGoAndTheSplitDependsOnTheTextAlone() throws Exception {
        writeDocuments("in/x.jsonl", 0, 400);
        writeDocuments("in/y.jsonl", 300, 600);
        write("in/z.jsonl", "{\"text\": \"document 5 document 5 document 5\\r\\n\"}\n");
        PrepareReport.DataSetReport set = run(config(
                        0.2, 2000, folder.resolve("in/*.jsonl").toString()))
                .dataSets()
                .get(0);
        assertThat(set.duplicates()).isEqualTo(101);
        assertThat(set.units()).isGreaterThan(3);
        List<String> train = texts(Manifest.TRAIN);
        List<String> validation = texts(Manifest.VALIDATION);
        assertThat(train.size() + validation.size()).isEqualTo(600);
        assertThat(new HashSet<>(train)).hasSize(train.size()).doesNotContainAnyElementsOf(validation);
        assertThat(validation.size()).isBetween(80, 160);

        // The same documents in another order and other files: the same split.
        Set<String> before = new HashSet<>(validation);
        deleteTree(folder.resolve("in"));
        deleteTree(folder.resolve("out"));
        writeDocuments("in/only.jsonl", 100, 600);
        writeDocuments("in/zz.jsonl", 0, 100);
        run(config(0.2, 1 << 20, folder.resolve("in").toString()));
        assertThat(new HashSet<>(texts(Manifest.VALIDATION))).isEqualTo(before);
    }

    @Test
    void keepingDuplicatesKeepsThem() throws Exception {
        write("in/a.jsonl", "{\"text\": \"same\"}\n{\"text\": \"same\"}\n");
        DataConfig data = config(0, 1 << 20, folder.resolve("in").toString());
        run(withDedup(data, false));
        assertThat(texts(Manifest.TRAIN)).containsExactly("same", "same");
    }

    @Test
    void aKilledJobRunAgainFinishesTheRestWithTheSameBytes() throws Exception {
        writeDocuments("in/x.jsonl", 0, 500);
        writeDocuments("in/y.jsonl", 450, 900);
        DataConfig data = config(0.1, 2000, folder.resolve("in").toString());
        run(data);
        Map<String, List<Byte>> expected = files(folder.resolve("out"));
        assertThat(expected.keySet()).anyMatch(name -> name.endsWith("00003-000.arrow"));

        for (String point : List.of("unit started", "shards written", "unit committed")) {
            deleteTree(folder.resolve("out"));
            assertThatThrownBy(() -> PrepareJob.run(data, spark, false, (reached, unit) -> {
                        if (reached.equals(point) && unit == 3) {
                            throw new IllegalStateException("killed");
                        }
                    }))
                    .rootCause()
                    .hasMessage("killed");
            assertThat(folder.resolve("out/set/train/manifest.json")).doesNotExist();
            Files.writeString(folder.resolve("out/set/train/.partial-left-00009-000.arrow"), "cut off");
            PrepareReport.DataSetReport set = run(data).dataSets().get(0);
            assertThat(set.unitsReused()).isBetween(1, set.units() - 1);
            assertThat(files(folder.resolve("out"))).isEqualTo(expected);
        }
    }

    @Test
    void runningAgainReusesEverythingAndRepairsWhatIsDamaged() throws Exception {
        writeDocuments("in/x.jsonl", 0, 700);
        DataConfig data = config(0.1, 2000, folder.resolve("in").toString());
        PrepareReport.DataSetReport first = run(data).dataSets().get(0);
        Map<String, List<Byte>> expected = files(folder.resolve("out"));
        assertThat(first.unitsReused()).isZero();

        Files.setLastModifiedTime(folder.resolve("in/x.jsonl"), FileTime.fromMillis(1_000_000));
        PrepareReport.DataSetReport second = run(data).dataSets().get(0);
        assertThat(second.unitsReused()).isEqualTo(second.units());
        assertThat(second.tokens()).isEqualTo(first.tokens());

        Path shard = folder.resolve("out/set/train/00001-000.arrow");
        byte[] bytes = Files.readAllBytes(shard);
        bytes[bytes.length / 2] ^= 1;
        Files.write(shard, bytes);
        Files.delete(folder.resolve("out/set/tokens/00002.parquet"));
        PrepareReport.DataSetReport third = run(data).dataSets().get(0);
        assertThat(third.unitsReused()).isEqualTo(third.units() - 2);
        Map<String, List<Byte>> repaired = files(folder.resolve("out"));
        repaired.remove("set/plan.json");
        expected.remove("set/plan.json");
        assertThat(repaired).isEqualTo(expected);
    }

    @Test
    void changedInputsOrSettingsAreSaidNotMixed() throws Exception {
        writeDocuments("in/x.jsonl", 0, 50);
        DataConfig data = config(0.1, 2000, folder.resolve("in").toString());
        run(data);
        assertThatThrownBy(() -> run(config(0.2, 2000, folder.resolve("in").toString())))
                .isInstanceOf(DataException.class)
                .hasMessageContaining("data.validation_fraction: 0.1 -> 0.2")
                .hasMessageContaining("Delete that folder");
        writeDocuments("in/x.jsonl", 1, 51);
        writeDocuments("in/new.jsonl", 90, 95);
        assertThatThrownBy(() -> run(data))
                .hasMessageContaining("input x.jsonl has other content")
                .hasMessageContaining("input new.jsonl is new");
    }

    @Test
    void badRecordsAreSkippedCountedAndPlaced() throws Exception {
        StringBuilder lines = new StringBuilder();
        for (int i = 0; i < 200; i++) {
            lines.append("{\"text\": \"good ").append(i).append("\"}\n");
        }
        lines.append("{\"text\": \"broken\n");
        lines.append("{\"text\": 5}\n{\"other\": \"x\"}\n{\"text\": \"  \\n\"}\n[1]\n");
        lines.append("{\"text\": \"half \\ud800 pair\"}\n");
        lines.append("{\"text\": \"").append("long ".repeat(3000)).append("\"}\n");
        byte[] good = lines.toString().getBytes(StandardCharsets.UTF_8);
        try (OutputStream out = create("in/a.jsonl")) {
            out.write(good);
            out.write(new byte[] {'{', '"', 't', 'e', 'x', 't', '"', ':', '"', (byte) 0xC3, '(', '"', '}', '\n'});
        }
        DataConfig data = withMaxBytes(config(0, 1 << 20, folder.resolve("in").toString()), 10_000);
        PrepareReport.DataSetReport set = run(data).dataSets().get(0);
        assertThat(set.documents()).isEqualTo(200);
        assertThat(set.skipped())
                .isEqualTo(Map.of(
                        "malformed_json", 2L, "missing_text", 2L, "empty", 1L, "invalid_utf8", 2L, "too_long", 1L));
        assertThat(set.examples()).first().asString().startsWith("a.jsonl:201: malformed_json");
        assertThat(ManifestFile.read(folder.resolve("out/set/train")).skipped()).isEqualTo(set.skipped());
    }

    @Test
    void aLineOfFiftyMegabytesIsSkippedWithoutHoldingIt() throws Exception {
        try (OutputStream out = create("in/a.jsonl")) {
            out.write("{\"text\": \"before\"}\n{\"text\": \"".getBytes(StandardCharsets.UTF_8));
            byte[] megabyte = "x".repeat(1 << 20).getBytes(StandardCharsets.UTF_8);
            for (int i = 0; i < 50; i++) {
                out.write(megabyte);
            }
            out.write("\"}\n{\"text\": \"after\"}\n".getBytes(StandardCharsets.UTF_8));
        }
        DataConfig data = withMaxBytes(config(0, 1 << 20, folder.resolve("in").toString()), 1 << 20);
        PrepareReport.DataSetReport set = run(data).dataSets().get(0);
        assertThat(set.skipped()).isEqualTo(Map.of("too_long", 1L));
        assertThat(texts(Manifest.TRAIN)).containsExactly("before", "after");
    }

    @Test
    void unusableInputsGetOneClearError() throws Exception {
        assertThatThrownBy(
                        () -> run(config(0, 2000, folder.resolve("none/*.jsonl").toString())))
                .isInstanceOf(DataException.class)
                .hasMessageContaining("Nothing matches the source")
                .hasMessageContaining("data.sources.set");

        write("text.csv", "a,b");
        assertThatThrownBy(() -> run(config(0, 2000, folder.resolve("text.csv").toString())))
                .hasMessageContaining("not known by its name");

        write("bad/a.jsonl", "not json\n".repeat(30));
        assertThatThrownBy(() -> run(config(0, 2000, folder.resolve("bad").toString())))
                .isInstanceOf(DataException.class)
                .hasMessageContaining("30 of 30 records are bad")
                .hasMessageContaining("a.jsonl:1: malformed_json");

        byte[] whole;
        try (java.io.ByteArrayOutputStream bytes = new java.io.ByteArrayOutputStream()) {
            try (OutputStream out = new GZIPOutputStream(bytes)) {
                for (int i = 0; i < 2000; i++) {
                    out.write(("{\"text\": \"" + i * 31 % 977 + "\"}\n").getBytes(StandardCharsets.UTF_8));
                }
            }
            whole = bytes.toByteArray();
        }
        try (OutputStream out = create("cut/a.jsonl.gz")) {
            out.write(whole, 0, whole.length / 2);
        }
        DataConfig cut = config(0, 2000, folder.resolve("cut").toString());
        assertThatThrownBy(() -> run(withPrepared(cut, "out2")))
                .isInstanceOf(DataException.class)
                .hasMessageContaining("a.jsonl.gz")
                .hasMessageContaining("truncated");
    }

    @Test
    void aDryRunWritesNothing() throws Exception {
        writeDocuments("in/x.jsonl", 0, 300);
        DataConfig data = config(0.1, 2000, folder.resolve("in").toString());
        PrepareReport report = PrepareJob.run(data, spark, true, FaultPoint.NONE);
        assertThat(report.dryRun()).isTrue();
        assertThat(report.dataSets().get(0).units()).isGreaterThan(1);
        assertThat(folder.resolve("out")).doesNotExist();
    }

    private PrepareReport run(DataConfig data) {
        return PrepareJob.run(data, spark, false, FaultPoint.NONE);
    }

    private DataConfig config(double validation, long tokensPerShard, String source) {
        return new DataConfig(
                Map.of("set", List.of(source)),
                "text",
                folder.resolve("out").toString(),
                "bytes",
                null,
                validation,
                true,
                33_554_432,
                tokensPerShard,
                Map.of(),
                true,
                false,
                true,
                true);
    }

    private static DataConfig withDedup(DataConfig data, boolean dedup) {
        return copy(data, data.prepared(), dedup, data.maxDocumentBytes());
    }

    private static DataConfig withMaxBytes(DataConfig data, long maxBytes) {
        return copy(data, data.prepared(), data.dedup(), maxBytes);
    }

    private DataConfig withPrepared(DataConfig data, String name) {
        return copy(data, folder.resolve(name).toString(), data.dedup(), data.maxDocumentBytes());
    }

    private static DataConfig copy(DataConfig data, String prepared, boolean dedup, long maxBytes) {
        return new DataConfig(
                data.sources(),
                data.textField(),
                prepared,
                data.tokenizer(),
                data.endOfDocument(),
                data.validationFraction(),
                dedup,
                maxBytes,
                data.tokensPerShard(),
                data.blend(),
                data.documentMask(),
                data.resetPositions(),
                data.maskDocumentStart(),
                data.verifyChecksums());
    }

    /** Documents of a split, decoded from what the reader gives. */
    private List<String> texts(String split) {
        Manifest manifest = ManifestFile.read(folder.resolve("out/set").resolve(split));
        List<String> result = new ArrayList<>();
        try (Tokenizer tokenizer = Tokenizers.open("bytes", null)) {
            List<Integer> ids = new ArrayList<>();
            TokenStream stream = new TokenStream(folder.resolve("out/set").resolve(split), manifest, true);
            int[] all = new int[Math.toIntExact(stream.tokens())];
            if (all.length > 0) {
                stream.read(0, all.length, all, 0, start -> {});
            }
            for (int id : all) {
                if (id == tokenizer.endOfDocument()) {
                    result.add(tokenizer.decode(
                            ids.stream().mapToInt(Integer::intValue).toArray()));
                    ids.clear();
                } else {
                    ids.add(id);
                }
            }
        }
        assertThat(result).hasSize(Math.toIntExact(manifest.documents()));
        return result;
    }

    @Test
    void preparedDataIsReadAsBatches() throws Exception {
        writeDocuments("in/x.jsonl", 0, 300);
        run(config(0.1, 2000, folder.resolve("in").toString()));
        try (BatchReader reader = Readers.open(folder.resolve("out"), Manifest.TRAIN, ReaderOptions.of(64, 1))) {
            Batch batch = reader.read(0, 4, 0);
            assertThat(batch.tokens()).hasSize(256);
            assertThat(batch.labelCount()).isBetween(200, 256);
        }
    }

    private OutputStream create(String name) throws IOException {
        Path file = folder.resolve(name);
        Files.createDirectories(file.getParent());
        return Files.newOutputStream(file);
    }

    private void write(String name, String content) throws IOException {
        try (OutputStream out = create(name)) {
            out.write(content.getBytes(StandardCharsets.UTF_8));
        }
    }

    private void writeDocuments(String name, int from, int to) throws IOException {
        StringBuilder lines = new StringBuilder();
        for (int i = from; i < to; i++) {
            String text = ("document " + i + " ").repeat(3).trim();
            lines.append("{\"text\": \"").append(text).append("\\n\"}\n");
        }
        write(name, lines.toString());
    }

    private static Map<String, List<Byte>> files(Path root) throws IOException {
        Map<String, List<Byte>> result = new TreeMap<>();
        try (Stream<Path> paths = Files.walk(root)) {
            for (Path path : paths.filter(Files::isRegularFile).toList()) {
                List<Byte> content = new ArrayList<>();
                for (byte b : Files.readAllBytes(path)) {
                    content.add(b);
                }
                result.put(root.relativize(path).toString(), content);
            }
        }
        return result;
    }

    private static void deleteTree(Path root) throws IOException {
        try (Stream<Path> paths = Files.walk(root)) {
            for (Path path : paths.sorted(java.util.Comparator.reverseOrder()).toList()) {
                Files.delete(path);
            }
        }
    }
}
