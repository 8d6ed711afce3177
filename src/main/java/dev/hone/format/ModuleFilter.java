package dev.hone.format;

import dev.hone.config.UserError;
import java.util.List;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/**
 * Which modules of a model are meant, as PEFT says it: by whole names or their endings ({@code q_proj},
 * {@code model.layers.0.mlp.up_proj}), or by one regex over whole names.
 *
 * @param names names or endings; empty where {@code pattern} decides
 * @param pattern regex over the whole name, null where {@code names} decide
 */
public record ModuleFilter(List<String> names, String pattern) {
  /** PEFT's word for every linear layer but the head. */
  public static final String ALL_LINEAR = "all-linear";

  public static ModuleFilter names(List<String> names) {
    return new ModuleFilter(List.copyOf(names), null);
  }

  public static ModuleFilter pattern(String pattern) {
    return new ModuleFilter(List.of(), pattern);
  }

  public static ModuleFilter none() {
    return new ModuleFilter(List.of(), null);
  }

  public boolean isEmpty() {
    return names.isEmpty() && pattern == null;
  }

  /** Whether the module, one of the model's linear layers without the head, is meant. */
  public boolean matches(String module) {
    if (pattern != null) {
      return pattern.equalsIgnoreCase(ALL_LINEAR) || fits(pattern, module);
    }
    return names.contains(module) || names.stream().anyMatch(name -> module.endsWith("." + name));
  }

  /** Whether the regex fits the whole module name. */
  static boolean fits(String regex, String module) {
    try {
      return Pattern.matches(regex, module);
    } catch (PatternSyntaxException e) {
      throw new UserError("adapter_config.json: '" + regex + "' is not a regex: " + e.getDescription(), e);
    }
  }
}
