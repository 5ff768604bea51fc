package io.fourfold.hf;

import java.nio.file.Path;
import java.util.List;

/**
 * What an export wrote.
 *
 * @param folder where
 * @param architecture the transformers class that loads it
 * @param parameters weights written, tied ones once
 * @param bytes of weight data
 * @param files names within the folder
 * @param notes what the user should know, for example that there are no tokenizer files
 */
public record ExportReport(
        Path folder, String architecture, long parameters, long bytes, List<String> files, List<String> notes) {
    public ExportReport {
        files = List.copyOf(files);
        notes = List.copyOf(notes);
    }
}
