package io.fourfold.cli;

import io.fourfold.report.CompareCommand;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.util.List;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.UnmatchedArgumentException;

/** The command line. Each subcommand is a class of its own; only {@code prepare}, {@code preflight} and {@code train} start
 * Spark. */
@Command(
        name = "fourfold",
        description = "Pretrains Mixture-of-Experts language models in NVFP4 on Spark barrier tasks.",
        synopsisSubcommandLabel = "COMMAND",
        versionProvider = VersionProvider.class,
        subcommands = {
            PrepareCommand.class,
            PlanCommand.class,
            PreflightCommand.class,
            TrainCommand.class,
            EvalCommand.class,
            GenerateCommand.class,
            ExportCommand.class,
            ImportCommand.class,
            InspectCommand.class,
            BenchCommand.class,
            CompareCommand.class,
            ConfigReferenceCommand.class
        })
public final class Fourfold {
    private Fourfold() {}

    public static void main(String[] arguments) {
        PrintWriter out = new PrintWriter(System.out, false, StandardCharsets.UTF_8);
        PrintWriter err = new PrintWriter(System.err, true, StandardCharsets.UTF_8);
        int code = run(out, err, arguments);
        out.flush();
        err.flush();
        // Spark may leave threads behind; the exit code must not wait for them.
        System.exit(code);
    }

    /** Runs one command and returns its exit code; nothing is thrown. */
    public static int run(PrintWriter out, PrintWriter err, String... arguments) {
        CommandLine line = commandLine().setOut(out).setErr(err);
        try {
            return line.execute(arguments);
        } catch (OutOfMemoryError | StackOverflowError | NoClassDefFoundError e) {
            return Failure.report(e, List.of(arguments).contains("--verbose"), err)
                    .number();
        }
    }

    static CommandLine commandLine() {
        CommandLine line = new CommandLine(new Fourfold());
        line.setCaseInsensitiveEnumValuesAllowed(true);
        line.setUsageHelpLongOptionsMaxWidth(26);
        help(line);
        line.getSubcommands().values().forEach(Fourfold::help);
        line.setParameterExceptionHandler((e, arguments) -> {
            PrintWriter err = e.getCommandLine().getErr();
            err.println("fourfold: " + e.getMessage());
            UnmatchedArgumentException.printSuggestions(e, err);
            err.println("    help: " + e.getCommandLine().getCommandSpec().qualifiedName() + " --help");
            err.flush();
            return ExitCode.USAGE.number();
        });
        line.setExecutionExceptionHandler((e, command, result) -> {
            boolean verbose = result.expandedArgs().contains("--verbose");
            return Failure.report(e, verbose, command.getErr()).number();
        });
        return line;
    }

    private static void help(CommandLine line) {
        line.getCommandSpec()
                .mixinStandardHelpOptions(true)
                .usageMessage()
                .sortOptions(false)
                .width(110)
                .exitCodeListHeading("%nExit codes:%n")
                .exitCodeList(ExitCode.list());
    }
}
