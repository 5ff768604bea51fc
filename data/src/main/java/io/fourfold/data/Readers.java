package io.fourfold.data;

import io.fourfold.data.order.Blend;
import io.fourfold.data.shard.Manifest;
import io.fourfold.data.shard.ManifestFile;
import io.fourfold.data.shard.TokenStream;
import io.fourfold.data.shard.TokenizerInfo;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.stream.Stream;

/** Opens prepared data for training. */
public final class Readers {
    private Readers() {}

    /**
     * Opens one split of prepared data. Training data is shuffled, validation data comes in its stored order; both
     * follow the blend.
     *
     * @param prepared folder with one subfolder per data set
     * @param split {@code train} or {@code validation}
     * @throws DataException if data is missing or damaged, was made by another tokenizer, or does not fit the model
     */
    public static BatchReader open(Path prepared, String split, ReaderOptions options) {
        boolean shuffle = split.equals(Manifest.TRAIN);
        List<DataSet> dataSets = new ArrayList<>();
        List<String> tooSmall = new ArrayList<>();
        for (String name : names(prepared, split, options)) {
            Path folder = prepared.resolve(name).resolve(split);
            Manifest manifest = ManifestFile.read(folder);
            check(manifest, folder, options);
            if (!dataSets.isEmpty()) {
                checkSameTokenizer(dataSets.get(0).manifest(), manifest);
            }
            TokenStream tokens = new TokenStream(folder, manifest, options.verifyChecksums());
            DataSet dataSet = new DataSet(manifest, tokens, options.sequenceLength(), options.seed(), shuffle);
            if (dataSet.samples() > 0) {
                dataSets.add(dataSet);
            } else {
                tooSmall.add(name + " (" + manifest.tokens() + " tokens)");
            }
        }
        if (dataSets.isEmpty() || (shuffle && !tooSmall.isEmpty())) {
            throw new DataException("Not enough prepared data for one sample of " + options.sequenceLength()
                    + " + 1 tokens in split " + split + " of " + prepared + ": " + String.join(", ", tooSmall)
                    + ". Use a shorter train.sequence_length, more text"
                    + (shuffle
                            ? ", or leave the data set out of data.blend."
                            : " or a larger data.validation_fraction."));
        }
        return new BlendReader(dataSets, blend(dataSets, options), options);
    }

    private static List<String> names(Path prepared, String split, ReaderOptions options) {
        if (!options.blend().isEmpty()) {
            TreeSet<String> weighted = new TreeSet<>(options.blend().keySet());
            weighted.removeIf(name -> options.blend().getOrDefault(name, 0.0) == 0);
            return List.copyOf(weighted);
        }
        if (!options.dataSets().isEmpty()) {
            return List.copyOf(new TreeSet<>(options.dataSets()));
        }
        try (Stream<Path> folders = Files.isDirectory(prepared) ? Files.list(prepared) : Stream.empty()) {
            List<String> found = folders.filter(
                            folder -> Files.isRegularFile(folder.resolve(split).resolve(Manifest.FILE)))
                    .map(folder -> folder.getFileName().toString())
                    .sorted()
                    .toList();
            if (found.isEmpty()) {
                throw new DataException("No prepared data at " + prepared.toAbsolutePath()
                        + ": no data set there has a split '" + split
                        + "'. Run 'fourfold prepare' with this configuration, or correct data.prepared.");
            }
            return found;
        } catch (IOException e) {
            throw new DataException("Cannot list " + prepared + ": " + e.getMessage(), e);
        }
    }

    private static void check(Manifest manifest, Path folder, ReaderOptions options) {
        TokenizerInfo tokenizer = manifest.tokenizer();
        String wanted = options.tokenizerFingerprint();
        if (wanted != null && !wanted.equals(tokenizer.fingerprint())) {
            throw new DataException(
                    "Tokenizer does not match the shards in " + folder + ": they were made with "
                            + tokenizer.description() + " (fingerprint " + tokenizer.fingerprint()
                            + "), the configured tokenizer has fingerprint " + wanted
                            + ". Set data.tokenizer to the one they were made with, or prepare into another data.prepared folder.");
        }
        if (options.modelVocabSize() > 0 && tokenizer.vocabSize() > options.modelVocabSize()) {
            throw new DataException("The shards in " + folder + " have ids up to " + (tokenizer.vocabSize() - 1)
                    + " (tokenizer " + tokenizer.description() + "), the model's vocab_size is "
                    + options.modelVocabSize() + ". Set model.vocab_size to at least " + tokenizer.vocabSize()
                    + ", or use another tokenizer.");
        }
    }

    private static void checkSameTokenizer(Manifest first, Manifest other) {
        if (!first.tokenizer().fingerprint().equals(other.tokenizer().fingerprint())) {
            throw new DataException("Data sets " + first.dataSet() + " and " + other.dataSet()
                    + " were made with different tokenizers ("
                    + first.tokenizer().description() + " and "
                    + other.tokenizer().description() + "). Prepare them again with one data.tokenizer.");
        }
    }

    private static Blend blend(List<DataSet> dataSets, ReaderOptions options) {
        if (options.blend().isEmpty()) {
            return Blend.bySize(dataSets.stream().mapToLong(DataSet::samples).toArray());
        }
        List<Double> weights = new ArrayList<>();
        for (DataSet dataSet : dataSets) {
            weights.add(options.blend().getOrDefault(dataSet.name(), 0.0));
        }
        try {
            return Blend.of(weights);
        } catch (IllegalArgumentException e) {
            throw new DataException("data.blend is not usable: " + e.getMessage(), e);
        }
    }
}
