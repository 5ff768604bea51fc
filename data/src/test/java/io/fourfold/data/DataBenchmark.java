package io.fourfold.data;

import com.sun.management.OperatingSystemMXBean;
import io.fourfold.data.shard.Manifest;
import io.fourfold.data.shard.TokenizerInfo;
import io.fourfold.data.text.Document;
import io.fourfold.data.text.DocumentReader;
import io.fourfold.data.text.JsonLines;
import io.fourfold.data.text.LineReader;
import io.fourfold.data.text.RecordSource;
import io.fourfold.data.tokenize.Tokenizer;
import io.fourfold.data.tokenize.Tokenizers;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * Measures tokenizing and reading. Arguments: {@code tokenize <jsonl.zst> <threads> <tokenizer>...} or {@code read
 * <folder> <megatokens> <sequence length>}. Bind it to cores with {@code taskset} for rates per core. Next to the wall
 * time it prints rates per second of processor time, which other programs on the machine disturb less.
 */
public final class DataBenchmark {
    private static final OperatingSystemMXBean SYSTEM =
            (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    private DataBenchmark() {}

    public static void main(String[] arguments) throws Exception {
        switch (arguments[0]) {
            case "tokenize" -> {
                List<List<String>> batches = batches(Path.of(arguments[1]));
                int threads = Integer.parseInt(arguments[2]);
                for (int i = 3; i < arguments.length; i++) {
                    tokenize(arguments[i], batches, threads);
                }
            }
            case "read" -> {
                Path folder = Path.of(arguments[1]);
                int tokens = Integer.parseInt(arguments[2]) << 20;
                for (int vocabSize : new int[] {50_257, 151_669}) {
                    read(folder.resolve("v" + vocabSize), tokens, Integer.parseInt(arguments[3]), vocabSize);
                }
            }
            default -> throw new IllegalArgumentException("tokenize or read, not " + arguments[0]);
        }
    }

    private static List<List<String>> batches(Path file) throws IOException {
        long start = System.nanoTime();
        List<List<String>> batches = new ArrayList<>(List.of(new ArrayList<>()));
        LineReader lines = new LineReader(new ByteArrayInputStream(SharedFiles.unzstd(file)), 1 << 26, 0);
        DocumentReader documents = new DocumentReader(1 << 25);
        long bytes = 0;
        try (RecordSource records = JsonLines.whole(lines, file.toString(), "text")) {
            for (Document document = documents.next(records); document != null; document = documents.next(records)) {
                if (batches.get(batches.size() - 1).size() == 64) {
                    batches.add(new ArrayList<>());
                }
                batches.get(batches.size() - 1).add(document.text());
                bytes += document.bytes();
            }
        }
        print("normalise and hash (cold)", bytes, start, 0);
        return batches;
    }

    private static void tokenize(String name, List<List<String>> batches, int threads) throws InterruptedException {
        try (Tokenizer tokenizer = Tokenizers.open(name, null)) {
            tokenizer.encode(batches.get(0));
            long start = System.nanoTime();
            long cpu = SYSTEM.getProcessCpuTime();
            long[] counts = new long[threads];
            List<Thread> workers = new ArrayList<>();
            for (int t = 0; t < threads; t++) {
                int thread = t;
                workers.add(new Thread(() -> {
                    for (int i = thread; i < batches.size(); i += threads) {
                        counts[thread] += tokenizer.encode(batches.get(i)).stream()
                                .mapToLong(ids -> ids.length)
                                .sum();
                    }
                }));
            }
            workers.forEach(Thread::start);
            for (Thread worker : workers) {
                worker.join();
            }
            long bytes = batches.stream()
                    .flatMap(List::stream)
                    .mapToLong(text -> text.getBytes(java.nio.charset.StandardCharsets.UTF_8).length)
                    .sum();
            print(
                    name + ", " + threads + " threads, "
                            + java.util.Arrays.stream(counts).sum() + " tokens",
                    bytes,
                    start,
                    cpu);
        }
    }

    private static void read(Path folder, int tokens, int sequenceLength, int vocabSize) throws IOException {
        if (!Files.exists(folder)) {
            List<List<int[]>> shards = new ArrayList<>();
            for (int shard = 0; shard < 4; shard++) {
                List<int[]> documents = new ArrayList<>();
                for (int done = 0; done < tokens / 4; done += 1000) {
                    int[] document = new int[1000];
                    java.util.Arrays.setAll(document, i -> i * 31 % vocabSize);
                    documents.add(document);
                }
                shards.add(documents);
            }
            PreparedFiles.write(folder, "set", Manifest.TRAIN, new TokenizerInfo("t", "f", vocabSize, 0), shards);
        }
        long open = System.nanoTime();
        try (BatchReader reader = Readers.open(folder, Manifest.TRAIN, ReaderOptions.of(sequenceLength, 1))) {
            reader.read(0, 8, 0);
            System.out.printf(
                    Locale.ROOT,
                    "vocabulary %d: open and first batch of 8, checksums verified: %.3f s%n",
                    vocabSize,
                    (System.nanoTime() - open) / 1e9);
            int width = vocabSize > 65_536 ? 4 : 2;
            for (int round = 0; round < 3; round++) {
                long start = System.nanoTime();
                long cpu = SYSTEM.getProcessCpuTime();
                long samples = reader.samplesPerEpoch();
                long check = 0;
                for (long first = 0; first + 8 <= samples; first += 8) {
                    check += reader.read(first, 8, 0).tokens()[5];
                }
                print(
                        "read shuffled batches of 8, stored bytes (check " + check + ")",
                        samples * sequenceLength * width,
                        start,
                        cpu);
                print("  the same in int32 bytes of tokens", samples * sequenceLength * 4L, start, cpu);
            }
        }
    }

    private static void print(String what, long bytes, long start, long cpuStart) {
        double seconds = (System.nanoTime() - start) / 1e9;
        double cpu = (SYSTEM.getProcessCpuTime() - cpuStart) / 1e9;
        System.out.printf(
                Locale.ROOT,
                "%s: %.1f MB in %.2f s = %.1f MB/s; %.1f MB per processor second%n",
                what,
                bytes / 1e6,
                seconds,
                bytes / 1e6 / seconds,
                bytes / 1e6 / cpu);
    }
}
