// The one file with the code of fmt.
#define FMT_HEADER_ONLY  // a program then needs no library of fmt where it runs
#include "cli/text.h"

namespace transload::cli::text {

std::string format_values(fmt::string_view form, fmt::format_args values) { return fmt::vformat(form, values); }

void print_values(std::FILE* file, fmt::string_view form, fmt::format_args values) { fmt::vprint(file, form, values); }

}  // namespace transload::cli::text
