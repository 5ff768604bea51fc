package io.fourfold.cli;

import io.fourfold.checkpoint.CheckpointContents;
import io.fourfold.checkpoint.CheckpointContents.StoredFile;
import io.fourfold.checkpoint.CheckpointContents.StoredTensor;
import io.fourfold.checkpoint.CheckpointManifest;
import io.fourfold.metrics.HumanNumbers;
import io.fourfold.plan.Quantities;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;

/** One checkpoint as a person reads it: where it stands, its files, its tensors. */
final class CheckpointText {
    /** The order in which documentation names the degrees. */
    private static final List<String> DEGREES = List.of("world", "tp", "cp", "dp", "pp", "etp", "ep", "edp");

    private CheckpointText() {}

    static List<String> lines(CheckpointContents contents) {
        CheckpointManifest.Identity identity = contents.identity();
        List<String> lines = new ArrayList<>();
        lines.add(contents.path());
        lines.add(String.format(
                Locale.ROOT,
                "after step %,d: %,d samples, %,d tokens, seed %d",
                identity.step(),
                identity.samples(),
                identity.tokens(),
                identity.seed()));
        lines.add("written " + identity.created() + " by version " + identity.codeVersion() + ", config "
                + (identity.configHash().isEmpty() ? "-" : shorten(identity.configHash())) + ", model "
                + shorten(identity.modelFingerprint()));
        lines.add("mapping " + mapping(identity.mapping()) + " (loads at any other)");
        lines.add(String.format(
                Locale.ROOT,
                "%s, %s in %s",
                HumanNumbers.counted(contents.tensors().size(), "tensor"),
                Quantities.bytes(contents.bytes()),
                HumanNumbers.counted(contents.files().size(), "file")));
        lines.add("");
        lines.add(String.format(
                Locale.ROOT, "%5s %12s %8s %8s  %-12s  %s", "rank", "size", "tensors", "runs", "hash", "file"));
        contents.files().forEach(file -> lines.add(line(file)));
        lines.add("");
        int width = contents.tensors().stream()
                .mapToInt(tensor -> tensor.name().length())
                .max()
                .orElse(0);
        lines.add(String.format(
                Locale.ROOT,
                "%-" + Math.max(width, 1) + "s  %-20s %12s  %s",
                "tensor",
                "shape",
                "size",
                "stored (FP32)"));
        contents.tensors().forEach(tensor -> lines.add(line(tensor, Math.max(width, 1))));
        return lines;
    }

    private static String line(StoredFile file) {
        String hash = file.hash().name().toLowerCase(Locale.ROOT).replace('_', ' ');
        String line = String.format(
                Locale.ROOT,
                "%5d %12s %8d %8d  %-12s  %s",
                file.rank(),
                Quantities.bytes(file.bytes()),
                file.tensors(),
                file.runs(),
                hash,
                file.name());
        return file.problem().isEmpty() ? line : line + "\n      " + file.problem();
    }

    private static String line(StoredTensor tensor, int width) {
        String quantities = tensor.elements().keySet().stream()
                .map(quantity -> quantity.name().toLowerCase(Locale.ROOT))
                .collect(Collectors.joining(", "));
        return String.format(
                Locale.ROOT,
                "%-" + width + "s  %-20s %12s  %s",
                tensor.name(),
                Arrays.toString(tensor.shape()),
                Quantities.bytes(tensor.bytes()),
                quantities);
    }

    private static String mapping(Map<String, Integer> degrees) {
        return DEGREES.stream()
                .filter(degrees::containsKey)
                .map(name -> name.toUpperCase(Locale.ROOT) + " " + degrees.get(name))
                .collect(Collectors.joining(", "));
    }

    private static String shorten(String hash) {
        return hash.substring(0, Math.min(12, hash.length()));
    }
}
