package io.fourfold.spark.prep;

import io.fourfold.data.DataException;
import io.fourfold.data.text.InputKind;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;

/** Finds the raw files of a data set: files, folders (searched to the bottom) and globs. */
final class InputFiles {
    private final String dataSet;
    private final Configuration configuration;
    private final Map<String, FileStatus> found = new TreeMap<>();

    private InputFiles(String dataSet, Configuration configuration) {
        this.dataSet = dataSet;
        this.configuration = configuration;
    }

    /**
     * The files in the order of their names.
     *
     * @throws DataException if a source matches nothing usable
     */
    static List<InputFile> find(String dataSet, List<String> sources, Configuration configuration) throws IOException {
        if (sources.isEmpty()) {
            throw new DataException("data.sources." + dataSet + " lists no files");
        }
        InputFiles search = new InputFiles(dataSet, configuration);
        for (String source : sources) {
            search.add(source);
        }
        return search.named();
    }

    private void add(String source) throws IOException {
        Path pattern = new Path(source);
        FileSystem fileSystem = Folder.raw(pattern.getFileSystem(configuration));
        FileStatus[] matches;
        try {
            matches = fileSystem.globStatus(pattern);
        } catch (FileNotFoundException e) {
            matches = null;
        }
        if (matches == null || matches.length == 0) {
            throw new DataException("Nothing matches the source '" + source + "' of data set " + dataSet
                    + " (looked for " + fileSystem.makeQualified(pattern) + "). Correct data.sources." + dataSet + ".");
        }
        int before = found.size();
        boolean single = matches.length == 1 && matches[0].isFile();
        for (FileStatus match : matches) {
            if (match.isFile()) {
                addFile(match, single);
            } else {
                addFolder(fileSystem, match.getPath());
            }
        }
        if (found.size() == before && !single) {
            throw new DataException("The source '" + source + "' of data set " + dataSet
                    + " has no file of a known kind; known are " + InputKind.SUPPORTED + ".");
        }
    }

    private void addFolder(FileSystem fileSystem, Path folder) throws IOException {
        for (FileStatus status : fileSystem.listStatus(folder)) {
            String name = status.getPath().getName();
            if (name.startsWith(".") || name.startsWith("_")) {
                continue;
            }
            if (status.isDirectory()) {
                addFolder(fileSystem, status.getPath());
            } else {
                addFile(status, false);
            }
        }
    }

    private void addFile(FileStatus status, boolean mustBeKnown) {
        if (InputKind.of(status.getPath().getName()).isPresent()) {
            found.put(status.getPath().toString(), status);
        } else if (mustBeKnown) {
            throw new DataException("The kind of " + status.getPath() + " (data set " + dataSet
                    + ") is not known by its name; known are " + InputKind.SUPPORTED + ".");
        }
    }

    private List<InputFile> named() {
        String common = commonFolder();
        List<InputFile> files = new ArrayList<>();
        for (Map.Entry<String, FileStatus> entry : found.entrySet()) {
            String name = entry.getKey().substring(common.length());
            Optional<InputKind> kind = InputKind.of(name);
            FileStatus status = entry.getValue();
            files.add(new InputFile(
                    entry.getKey(), name, status.getLen(), status.getModificationTime(), kind.orElseThrow()));
        }
        files.sort(Comparator.comparing(InputFile::name));
        return files;
    }

    /** The longest folder prefix, with its slash, that all paths share. */
    private String commonFolder() {
        String common = null;
        for (String path : found.keySet()) {
            String folder = path.substring(0, path.lastIndexOf('/') + 1);
            if (common == null) {
                common = folder;
            }
            while (!folder.startsWith(common)) {
                common = common.substring(0, common.lastIndexOf('/', common.length() - 2) + 1);
            }
        }
        return common == null ? "" : common;
    }
}
