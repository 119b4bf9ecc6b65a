@echo off
rem Drop an ONNX model on this file, or double-click it and type a path. The window stays open to be read.
setlocal
set "MODEL=%~1"
if not defined MODEL set /p "MODEL=Path of the FP32 model (.onnx): "
if not defined MODEL goto end
where node >nul 2>nul
if errorlevel 1 (
  echo Node.js is not installed. Get version 20 or later from https://nodejs.org and run this again.
  goto end
)
node "%~dp0dist\cli.js" quantize --model "%MODEL%"
if errorlevel 1 (
  echo.
  echo Nothing was written. The line above says why.
) else (
  node "%~dp0dist\cli.js" checksum --mode create --path "%MODEL:.onnx=_int8.onnx%"
)
:end
echo.
pause
