// What all subcommands ask of the parser, and its errors in our words.
#pragma once
#include <string>

namespace CLI {
class App;
class Option;
class ParseError;
}  // namespace CLI

namespace transload::cli {

// What --help shows of an option that takes a value.
struct ValueOption {
  std::string name, type, help;
};

// Makes an option take a value, which is shown as `type`. An empty value is refused.
CLI::Option* with_value(CLI::Option* option, const std::string& type);
// Adds an option that is read as text. Its default is what `text` holds; of several typed the last counts.
void add_text(CLI::App& app, const ValueOption& option, std::string& text);
// Adds an option that takes no value.
void add_flag(CLI::App& app, const char* name, bool& flag, const char* help);

// Throws UsageError, which says what was typed wrong, and what shows how it is right.
[[noreturn]] void refuse_typed(const CLI::App& app, const CLI::ParseError& error);

}  // namespace transload::cli
