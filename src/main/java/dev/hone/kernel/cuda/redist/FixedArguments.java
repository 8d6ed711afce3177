package dev.hone.kernel.cuda.redist;

import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * Turns some arguments of a kernel into constants of its source: the compiler then unrolls loops over them, divides by
 * multiplying and drops branches. The kernel keeps its parameters, so it is launched as before, with just those values.
 */
final class FixedArguments {
  private FixedArguments() {}

  /**
   * The source with {@code name = value;} before the body's first statement.
   *
   * @param op of the kernel {@code HONE_ENTRY(op)} or, with a variant, {@code HONE_VARIANT(op, variant)}
   * @param variant empty for none
   * @param values by parameter name
   * @throws IllegalArgumentException when the source defines no such kernel, or one without such a parameter
   */
  static KernelSource in(KernelSource source, String op, String variant, Map<String, Long> values) {
    String name = variant.isEmpty() ? "ENTRY\\s*\\(\\s*" + op : "VARIANT\\s*\\(\\s*" + op + "\\s*,\\s*" + variant;
    Matcher kernel = Pattern.compile("\\bHONE_" + name + "\\s*\\)\\s*\\(([^()]*)\\)\\s*\\{").matcher(source.text());
    if (!kernel.find()) {
      throw new IllegalArgumentException(source.name() + " defines no " + (variant.isEmpty() ? op : op + ", "
          + variant));
    }
    for (String parameter : values.keySet()) {
      if (!Pattern.compile("\\bint(?:64_t)?\\s+" + parameter + "\\s*(?:,|$)").matcher(kernel.group(1)).find()) {
        throw new IllegalArgumentException(source.name() + ": " + op + " has no integer parameter " + parameter);
      }
    }
    String fixed = values.entrySet().stream()
        .sorted(Map.Entry.comparingByKey())
        .map(value -> " " + value.getKey() + " = " + value.getValue() + ";")
        .collect(Collectors.joining());
    String text = source.text().substring(0, kernel.end()) + fixed + source.text().substring(kernel.end());
    return new KernelSource(source.name(), text, source.headers(), source.options());
  }
}
