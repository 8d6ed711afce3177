@echo off
rem hone.cmd - finds a JDK >= 25, builds Hone on first use, and runs the command line. The Unix twin is "hone".
setlocal EnableDelayedExpansion
set "ROOT=%~dp0"
set "JAR=%ROOT%target\hone.jar"
set "JDK="

if defined JAVA_HOME call :consider "%JAVA_HOME%"
if not defined JDK for /f "delims=" %%J in ('where java 2^>nul') do if not defined JDK call :consider "%%~dpJ.."
if not defined JDK (
  for %%V in ("%ProgramFiles%\Java" "%ProgramFiles%\Eclipse Adoptium" "%ProgramFiles%\Microsoft" "%ProgramFiles%\Zulu" "%ProgramFiles%\Amazon Corretto" "%ProgramFiles%\BellSoft" "%USERPROFILE%\.jdks") do (
    if exist "%%~V" for /d %%J in ("%%~V\*") do if not defined JDK call :consider "%%~J"
  )
)
if not defined JDK (
  echo hone: no JDK ^>= 25 found; install one with: winget install EclipseAdoptium.Temurin.25.JDK, or set JAVA_HOME 1>&2
  exit /b 1
)

if /i "%~1"=="jdk" echo %JDK%& exit /b 0
if /i "%~1"=="build" goto build
if /i "%~1"=="verify" goto verify
if not exist "%JAR%" (
  call :package
  if errorlevel 1 exit /b 1
)
if not defined OMP_WAIT_POLICY (
  set "OMP_WAIT_POLICY=passive"
  if not defined GOMP_SPINCOUNT set "GOMP_SPINCOUNT=2000"
)
"%JDK%\bin\java.exe" -XX:+UseSerialGC -Xmn8m -Xshare:auto --enable-native-access=ALL-UNNAMED %HONE_JAVA_OPTS% -jar "%JAR%" %*
exit /b %errorlevel%

:build
call :package
exit /b %errorlevel%

:verify
call :tools
if errorlevel 1 exit /b 1
pushd "%ROOT%"
set "JAVA_HOME=%JDK%"
call mvn -B -ntp verify
set "STATUS=!errorlevel!"
popd
exit /b %STATUS%

:package
call :tools
if errorlevel 1 exit /b 1
echo hone: building (first use) ... 1>&2
if not exist "%ROOT%target" mkdir "%ROOT%target"
pushd "%ROOT%"
set "JAVA_HOME=%JDK%"
call mvn -B -ntp -Dmaven.test.skip=true package > "%ROOT%target\build.log" 2>&1
set "STATUS=!errorlevel!"
popd
if not "%STATUS%"=="0" (
  type "%ROOT%target\build.log" 1>&2
  echo hone: the build failed; its output is above and in %ROOT%target\build.log 1>&2
)
exit /b %STATUS%

:tools
where mvn >nul 2>nul || (echo hone: missing: Maven; unpack it from maven.apache.org and add its bin folder to PATH 1>&2 & exit /b 1)
where cmake >nul 2>nul || (echo hone: missing: CMake; install it with: winget install Kitware.CMake 1>&2 & exit /b 1)
where gcc >nul 2>nul || where clang >nul 2>nul || (echo hone: missing: a C compiler with OpenMP; install MSYS2 ^(winget install MSYS2.MSYS2^), then in its shell: pacman -S mingw-w64-ucrt-x86_64-gcc 1>&2 & exit /b 1)
exit /b 0

rem Sets JDK when the folder %1 holds a JDK >= 25; its release file says JAVA_VERSION="25.0.1".
:consider
if not exist "%~1\bin\javac.exe" exit /b 0
if not exist "%~1\release" exit /b 0
for /f "tokens=2 delims==" %%R in ('findstr /b "JAVA_VERSION=" "%~1\release"') do for /f "tokens=1 delims=." %%M in ("%%~R") do if %%M GEQ 25 set "JDK=%~f1"
exit /b 0
