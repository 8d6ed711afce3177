package dev.hone;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.base.DescribedPredicate;
import com.tngtech.archunit.core.domain.Dependency;
import com.tngtech.archunit.core.domain.JavaAccess;
import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The floors of the design: each package knows only those below it. */
class FloorsTest {
  private static final String ROOT = "dev.hone.";

  private static final Map<String, Integer> FLOORS = Map.ofEntries(
      Map.entry("tensor", 0), Map.entry("config", 0),
      Map.entry("kernel", 1),
      Map.entry("format", 2), Map.entry("text", 2),
      Map.entry("model", 3), Map.entry("data", 3),
      Map.entry("plan", 4),
      Map.entry("engine", 5),
      Map.entry("train", 6), Map.entry("generate", 6),
      Map.entry("cli", 7), Map.entry("api", 7));

  /** Who may touch native memory; plan cuts the one arena into tensors. */
  private static final Set<String> MEMORY = Set.of("kernel", "tensor", "format", "plan");

  private static JavaClasses classes;

  @BeforeAll
  static void readClasses() {
    classes = new ClassFileImporter().withImportOption(new ImportOption.DoNotIncludeTests()).importPackages("dev.hone");
    assertThat(classes).hasSizeGreaterThan(20);
  }

  /** The package right below dev.hone. */
  private static String part(JavaClass type) {
    String rest = type.getPackageName().substring(Math.min(ROOT.length(), type.getPackageName().length()));
    return rest.contains(".") ? rest.substring(0, rest.indexOf('.')) : rest;
  }

  @Test
  void everyPackageHasAFloor() {
    Set<String> parts = new TreeSet<>();
    classes.forEach(c -> parts.add(part(c)));
    assertThat(FLOORS.keySet()).containsAll(parts);
  }

  @Test
  void eachFloorKnowsOnlyThoseBelow() {
    Set<String> wrong = new TreeSet<>();
    for (JavaClass type : classes) {
      for (Dependency dependency : type.getDirectDependenciesFromSelf()) {
        JavaClass target = dependency.getTargetClass().getBaseComponentType();
        if (target.getPackageName().startsWith(ROOT) && !part(target).equals(part(type))
            && FLOORS.get(part(target)) >= FLOORS.get(part(type))) {
          wrong.add(type.getName() + " (floor " + FLOORS.get(part(type)) + ") knows " + target.getName() + " (floor "
              + FLOORS.get(part(target)) + ")");
        }
      }
    }
    assertThat(wrong).isEmpty();
  }

  @Test
  void packagesHaveNoCycles() {
    slices().matching("dev.hone.(*)..").should().beFreeOfCycles().check(classes);
  }

  @Test
  void nativeMemoryStaysWhereItBelongs() {
    Set<String> wrong = new TreeSet<>();
    for (JavaClass type : classes) {
      for (Dependency dependency : type.getDirectDependenciesFromSelf()) {
        JavaClass target = dependency.getTargetClass().getBaseComponentType();
        boolean foreign = target.getPackageName().equals("java.lang.foreign");
        if (foreign && !MEMORY.contains(part(type)) && !isLifetime(target)) {
          wrong.add(type.getName() + " uses " + target.getName());
        }
      }
    }
    assertThat(wrong).isEmpty();
  }

  /** An Arena is how long memory lives and may be handed around; it gives no access to memory by itself. */
  private static boolean isLifetime(JavaClass type) {
    return type.getSimpleName().equals("Arena");
  }

  @Test
  void onlyTheBindingsKnowTheLinker() {
    noClasses().that().resideOutsideOfPackages("dev.hone.kernel.cpu", "dev.hone.kernel.cuda")
        .should().dependOnClassesThat().haveFullyQualifiedName("java.lang.foreign.Linker")
        .orShould().dependOnClassesThat().haveFullyQualifiedName("java.lang.foreign.SymbolLookup")
        .check(classes);
  }

  @Test
  void onlyTheCommandLinePrintsAndExits() {
    noClasses().that().resideOutsideOfPackage("dev.hone.cli")
        .should().accessTargetWhere(namesOneOf("java.lang.System", List.of("out", "err", "exit", "console")))
        .orShould().callMethod(Throwable.class, "printStackTrace")
        .check(classes);
  }

  private static DescribedPredicate<JavaAccess<?>> namesOneOf(String owner, List<String> members) {
    return DescribedPredicate.describe(owner + " " + members,
        access -> access.getTargetOwner().getName().equals(owner) && members.contains(access.getTarget().getName()));
  }

  @Test
  void thereIsNoReflection() {
    noClasses().should().dependOnClassesThat().resideInAPackage("java.lang.reflect..").check(classes);
  }
}
