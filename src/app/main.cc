// The program `tarn`.
#include "app/cli.h"

int main(int argc, char** argv) {
  return tarn::app::run_command_line(argc, argv);
}
