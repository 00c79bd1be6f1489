//! Well-known names of tools, and words that say how they are used. Names are compared, and not kept.

use crate::llm::ToolFamilies;

/// Words that say that the model has to use a tool, whatever API they are of. A type of tool is the
/// choice of one.
pub(super) const FORCES: &[&str] = &["any", "custom", "function", "required", "tool"];

/// Tools that change files, in lower case: of Claude Code, Codex, opencode, Gemini CLI, Copilot,
/// Cursor, Cline, and those that the providers define.
const EDIT: &[&str] = &[
    "apply_diff",
    "apply_patch",
    "applypatch",
    "edit",
    "edit_file",
    "fs_write",
    "insert_edit_into_file",
    "multi_replace_string_in_file",
    "multiedit",
    "notebookedit",
    "patch",
    "replace",
    "replace_in_file",
    "replace_string_in_file",
    "search_and_replace",
    "search_replace",
    "str_replace_based_edit_tool",
    "str_replace_editor",
    "strreplace",
    "text_editor",
    "write",
    "write_file",
    "write_to_file",
];

/// Tools that run commands.
const SHELL: &[&str] = &[
    "bash",
    "container.exec",
    "exec",
    "exec_command",
    "execute_bash",
    "execute_command",
    "local_shell",
    "powershell",
    "run_in_terminal",
    "run_shell_command",
    "run_terminal_cmd",
    "shell",
    "shell_command",
    "terminal",
    "unified_exec",
];

/// Tools that read or search files.
const READ: &[&str] = &[
    "codebase_search",
    "file_search",
    "fs_read",
    "glob",
    "grep",
    "grep_files",
    "grep_search",
    "list",
    "list_code_definition_names",
    "list_dir",
    "list_directory",
    "list_files",
    "ls",
    "read",
    "read_file",
    "read_many_files",
    "rg",
    "search_file_content",
    "search_files",
    "semantic_search",
    "view",
];

/// Adds the family that a tool's name, or its type, belongs to.
pub(super) fn add_family(families: &mut ToolFamilies, name: &str) {
    let is_one_of = |list: &[&str]| list.iter().any(|known| name.eq_ignore_ascii_case(known));
    families.edit |= is_one_of(EDIT);
    families.shell |= is_one_of(SHELL);
    families.read |= is_one_of(READ);
}
