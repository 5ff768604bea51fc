package io.fourfold.kernels.cuda;

import static org.junit.platform.engine.discovery.ClassNameFilter.includeClassNamePatterns;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectPackage;

import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.launcher.LauncherDiscoveryRequest;
import org.junit.platform.launcher.TagFilter;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;
import org.junit.platform.launcher.listeners.SummaryGeneratingListener;

/**
 * Runs the tests tagged {@code gpu} where there is no Maven: one line per failed test, a summary, and exit status 1 when
 * one failed or was skipped. {@code -Dfourfold.tests=REGEX} chooses classes by name;
 * without it those whose name begins with Cuda.
 */
public final class GpuTests {
    private GpuTests() {}

    public static void main(String[] args) {
        SummaryGeneratingListener summary = new SummaryGeneratingListener();
        LauncherDiscoveryRequest request = LauncherDiscoveryRequestBuilder.request()
                .selectors(selectPackage("io.fourfold"))
                .filters(
                        TagFilter.includeTags("gpu"),
                        includeClassNamePatterns(System.getProperty("fourfold.tests", ".*\\.Cuda\\w*Test")))
                .build();
        LauncherFactory.create().execute(request, summary, new Failures());
        PrintWriter out = new PrintWriter(System.out, true, StandardCharsets.UTF_8);
        summary.getSummary().printTo(out);
        boolean passed = summary.getSummary().getTestsFoundCount() > 0
                && summary.getSummary().getTestsSucceededCount()
                        == summary.getSummary().getTestsFoundCount();
        System.exit(passed ? 0 : 1);
    }

    private static final class Failures implements TestExecutionListener {
        @Override
        public void executionSkipped(TestIdentifier test, String reason) {
            System.out.println("SKIPPED " + test.getDisplayName() + ": " + reason);
        }

        @Override
        public void executionFinished(TestIdentifier test, TestExecutionResult result) {
            result.getThrowable().ifPresent(failure -> {
                String text = String.valueOf(failure.getMessage());
                System.out.println(result.getStatus() + " " + test.getUniqueId() + ": "
                        + text.substring(0, Math.min(text.length(), 6000)));
                if (!(failure instanceof AssertionError)) {
                    StackTraceElement[] trace = failure.getStackTrace();
                    for (int i = 0; i < Math.min(8, trace.length); i++) {
                        System.out.println("    at " + trace[i]);
                    }
                }
            });
        }
    }
}
