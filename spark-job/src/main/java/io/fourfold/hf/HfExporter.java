package io.fourfold.hf;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.fourfold.checkpoint.GlobalTensorSource;
import io.fourfold.config.FailureReason;
import io.fourfold.config.ModelConfig;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/** Writes a model as a Hugging Face folder that {@code AutoModelForCausalLM.from_pretrained} loads. */
public final class HfExporter {
    /** Everything is written into this subfolder first, so that a failed export leaves an earlier one as it was. */
    private static final String ASIDE = ".fourfold-export";

    private static final String CONFIG = "config.json";
    static final String INDEX = "model.safetensors.index.json";
    static final String SINGLE = "model.safetensors";
    private static final ObjectMapper JSON = new ObjectMapper();

    private HfExporter() {}

    /**
     * Exports a model. An earlier export in the folder is replaced; other files there stay.
     *
     * @param source the model's tensors under their canonical names
     * @param model its configuration; {@code family} chooses the class
     * @param out the folder, made if needed
     * @throws HfException with all reasons when the family cannot express the model, or when tensors are missing or of
     *     another shape, before anything is written
     */
    public static ExportReport export(GlobalTensorSource source, ModelConfig model, Path out, ExportOptions options) {
        HfFamilies.require(model);
        List<HfTensor> tensors = HfNames.tensors(model);
        checkSource(source, model);
        Path aside = out.resolve(ASIDE);
        try {
            deleteFolder(aside);
            Files.createDirectories(aside);
            List<String> notes = new ArrayList<>();
            writeWeights(source, tensors, aside, options);
            writeJson(aside.resolve(CONFIG), HfConfigWriter.config(model, options.type(), options.endOfText()));
            writeJson(aside.resolve("generation_config.json"), HfConfigWriter.generationConfig(options.endOfText()));
            options.tokenizer().write(aside, options.endOfText(), notes);
            List<String> files = publish(aside, out);
            long parameters = tensors.stream().mapToLong(HfTensor::elements).sum();
            return new ExportReport(
                    out,
                    HfFamilies.architecture(model.family()),
                    parameters,
                    parameters * options.type().bytes(),
                    files,
                    notes);
        } catch (IOException e) {
            throw new HfException(
                    "the export to " + out + " failed: " + FailureReason.of(e)
                            + ". Check the disk and the permissions; what was in the folder before is unchanged",
                    e);
        }
    }

    private static void checkSource(GlobalTensorSource source, ModelConfig model) {
        List<String> problems = new ArrayList<>();
        Map<String, long[]> expected = HfNames.canonicalShapes(model);
        expected.forEach((name, shape) -> {
            if (!source.names().contains(name)) {
                problems.add(name + " is missing");
            } else if (!Arrays.equals(source.shape(name), shape)) {
                problems.add(name + " is " + Arrays.toString(source.shape(name)) + ", the configuration says "
                        + Arrays.toString(shape));
            }
        });
        for (String name : source.names()) {
            if (!expected.containsKey(name)) {
                problems.add(name + " has no place in " + HfFamilies.architecture(model.family()));
            }
        }
        if (!problems.isEmpty()) {
            throw HfException.of(
                    "the tensors do not fit model " + model.name(),
                    problems,
                    "The checkpoint belongs to another model configuration: use the config.yaml of its run folder.");
        }
    }

    private static void writeWeights(
            GlobalTensorSource source, List<HfTensor> tensors, Path folder, ExportOptions options) throws IOException {
        List<List<HfTensor>> shards = shards(tensors, options);
        ObjectNode index = JSON.createObjectNode();
        long total = tensors.stream().mapToLong(HfTensor::elements).sum();
        index.putObject("metadata")
                .put("total_parameters", total)
                .put("total_size", total * options.type().bytes());
        ObjectNode weightMap = index.putObject("weight_map");
        for (int i = 0; i < shards.size(); i++) {
            String file =
                    shards.size() == 1 ? SINGLE : "model-%05d-of-%05d.safetensors".formatted(i + 1, shards.size());
            List<CanonicalSlice> slices = shards.get(i).stream()
                    .map(t -> new CanonicalSlice(source, t))
                    .toList();
            SafetensorsWriter.write(folder.resolve(file), slices, options.type(), Map.of("format", "pt"));
            shards.get(i).forEach(tensor -> weightMap.put(tensor.name(), file));
        }
        if (shards.size() > 1) {
            writeJson(folder.resolve(INDEX), index);
        }
    }

    /** Fills files in model order, each up to the limit. */
    private static List<List<HfTensor>> shards(List<HfTensor> tensors, ExportOptions options) {
        List<List<HfTensor>> shards = new ArrayList<>();
        long used = 0;
        for (HfTensor tensor : tensors) {
            long bytes = tensor.elements() * options.type().bytes();
            if (shards.isEmpty() || used + bytes > options.maxShardBytes()) {
                shards.add(new ArrayList<>());
                used = 0;
            }
            shards.get(shards.size() - 1).add(tensor);
            used += bytes;
        }
        return shards;
    }

    private static void writeJson(Path file, ObjectNode json) throws IOException {
        Files.writeString(file, JSON.writerWithDefaultPrettyPrinter().writeValueAsString(json) + "\n");
    }

    /** Moves the new files over the old ones; config.json last, since it is what makes a folder loadable. */
    private static List<String> publish(Path aside, Path out) throws IOException {
        List<String> files;
        try (Stream<Path> written = Files.list(aside)) {
            files = new ArrayList<>(
                    written.map(f -> f.getFileName().toString()).sorted().toList());
        }
        Files.deleteIfExists(out.resolve(CONFIG));
        try (Stream<Path> old = Files.list(out)) {
            for (Path file : old.toList()) {
                String name = file.getFileName().toString();
                if (name.equals(SINGLE) || name.equals(INDEX) || name.matches("model-\\d{5}-of-\\d{5}\\.safetensors")) {
                    Files.delete(file);
                }
            }
        }
        files.remove(CONFIG);
        files.add(CONFIG);
        for (String name : files) {
            Files.move(aside.resolve(name), out.resolve(name), StandardCopyOption.REPLACE_EXISTING);
        }
        deleteFolder(aside);
        return files;
    }

    /** Deletes a flat folder. */
    private static void deleteFolder(Path folder) throws IOException {
        if (!Files.exists(folder)) {
            return;
        }
        try (Stream<Path> files = Files.list(folder)) {
            for (Path file : files.toList()) {
                Files.delete(file);
            }
        }
        Files.delete(folder);
    }
}
