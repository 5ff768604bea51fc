package io.fourfold.spark.prep;

import io.fourfold.data.DataException;
import io.fourfold.data.tokenize.TokenizerSource;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.jspecify.annotations.Nullable;

/** Reads tokenizer files from any Hadoop file system. */
final class TokenizerFiles {
    private TokenizerFiles() {}

    static TokenizerSource read(String name, @Nullable String endOfDocument, Configuration configuration)
            throws IOException {
        if (!TokenizerSource.isFile(name)) {
            return new TokenizerSource(name, endOfDocument, null);
        }
        Path path = new Path(name);
        FileSystem fileSystem = Folder.raw(path.getFileSystem(configuration));
        try (InputStream in = fileSystem.open(path)) {
            return new TokenizerSource(name, endOfDocument, in.readAllBytes());
        } catch (FileNotFoundException e) {
            throw new DataException(
                    "Tokenizer '" + name + "' does not exist (looked for " + fileSystem.makeQualified(path)
                            + "). Give 'bytes', 'tiktoken:r50k_base', 'tiktoken:p50k_base', 'tiktoken:cl100k_base',"
                            + " 'tiktoken:o200k_base' or"
                            + " the path of a Hugging Face tokenizer.json in data.tokenizer.",
                    e);
        }
    }
}
