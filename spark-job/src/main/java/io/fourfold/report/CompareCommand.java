package io.fourfold.report;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Draws the losses of several runs over each other and prints a table of the final ones. */
@Command(
        name = "compare",
        mixinStandardHelpOptions = true,
        sortOptions = false,
        description = "Compares the losses of several runs: a plot and a markdown table.")
public final class CompareCommand implements Callable<Integer> {
    /** As every command returns for a run folder that is missing or damaged. */
    private static final int NOT_READABLE = 5;

    @Parameters(
            arity = "2..*",
            paramLabel = "LABEL=RUN_FOLDER",
            description = "Runs in the order of the legend; the first one is the reference.")
    private List<String> runs = List.of();

    @Option(names = "--plot", paramLabel = "FILE", description = "Write the curves to this PNG file.")
    private @Nullable Path plot;

    @Option(names = "--table", paramLabel = "FILE", description = "Write the table to this markdown file as well.")
    private @Nullable Path table;

    @Spec
    private @Nullable CommandSpec spec;

    @Override
    public Integer call() throws IOException {
        CommandLine line = Objects.requireNonNull(spec, "picocli sets the spec").commandLine();
        List<NamedRun> read = new ArrayList<>();
        try {
            for (String run : runs) {
                read.add(parse(run));
            }
        } catch (IOException e) {
            PrintWriter err = line.getErr();
            err.println("fourfold compare: " + e.getMessage());
            err.flush();
            return NOT_READABLE;
        }
        String markdown = RunComparison.of(read).markdown();
        PrintWriter out = line.getOut();
        out.print(markdown);
        if (table != null) {
            Files.writeString(table, markdown, StandardCharsets.UTF_8);
        }
        if (plot != null) {
            LossPlot.overlay(plot, read);
            out.println();
            out.println("Plot: " + plot);
        }
        out.flush();
        return 0;
    }

    /** {@code label=folder}, or a folder whose name is the label. */
    private static NamedRun parse(String run) throws IOException {
        int equals = run.indexOf('=');
        Path folder = Path.of(run.substring(equals + 1));
        Path name = folder.toAbsolutePath().normalize().getFileName();
        String label = equals > 0 ? run.substring(0, equals) : name == null ? run : name.toString();
        return NamedRun.read(label, folder);
    }

    /** Runs this command alone. */
    public static void main(String[] arguments) {
        System.exit(new CommandLine(new CompareCommand()).execute(arguments));
    }
}
