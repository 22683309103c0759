// Options of all subcommands, and the parser's errors in our words.
#include "cli/parser.h"

#include <CLI/CLI.hpp>

#include "cli/show/usage.h"

namespace transload::cli {
namespace {

// The subcommand that was typed, or the program itself.
const CLI::App& command_of(const CLI::App& app) {
  const auto typed = app.get_subcommands();
  return typed.empty() ? app : *typed.front();
}

// Refuses the first word that no option of an app took. If there is none, it returns.
void refuse_left_over(const CLI::App& app, const std::string& name, const std::string& help) {
  for (const std::string& word : app.remaining()) {
    if (word == "--") continue;
    if (word.rfind('-', 0) == 0) refuse("'{}': not an option of {}: {}", word, name, help);
    refuse("'{}': belongs to no option of {}: {}", word, name, help);
  }
}

}  // namespace

CLI::Option* with_value(CLI::Option* option, const std::string& type) {
  return option->type_name(type)->check([](const std::string& text) { return text.empty() ? "empty" : ""; });
}

void add_text(CLI::App& app, const ValueOption& option, std::string& text) {
  with_value(app.add_option(option.name, text, option.help)->capture_default_str()->take_last(), option.type);
}

void add_flag(CLI::App& app, const char* name, bool& flag, const char* help) {
  app.add_flag(name, flag, help)->disable_flag_override();
}

void refuse_typed(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& command = command_of(app);
  const std::string name = &command == &app ? app.get_name() : app.get_name() + " " + command.get_name();
  const std::string help = "`" + name + " --help` lists them";
  refuse_left_over(app, app.get_name(), "`" + app.get_name() + " --help` lists them");
  refuse_left_over(command, name, help);
  const std::string what = error.what();
  for (const CLI::Option* option : command.get_options()) {
    const std::string typed = option->get_name();
    if (option->get_items_expected_max() > 0 && what.rfind(typed + ":", 0) == 0)
      refuse("{}: no value: must be {} (`{} --help` says more)", typed, option->get_type_name(), name);
    if (option->get_items_expected_max() == 0 && what.rfind(typed.substr(typed.find_first_not_of('-')) + " ", 0) == 0)
      refuse("{}: takes no value", typed);
  }
  refuse("'{}': cannot be understood: {}", one_line(what), help);
}

}  // namespace transload::cli
