# Run by ctest for each program of a build with sanitizers, where starting a process costs more than most cases do:
# makes each suite of `program` one test, named folder.Suite. tools/test_results counts the cases.
execute_process(COMMAND ${program} --gtest_list_tests OUTPUT_VARIABLE listing RESULT_VARIABLE status TIMEOUT 300)
if(NOT status EQUAL 0)
  add_test(${folder}.suites ${program} --gtest_list_tests)
  return()
endif()
string(REGEX REPLACE "  [^\n]*" "" listing "${listing}")  # cases, and comments
string(REGEX MATCHALL "[A-Za-z0-9_/]+\\.\n" suites "${listing}")
foreach(suite IN LISTS suites)
  string(REPLACE ".\n" "" suite ${suite})
  add_test(${folder}.${suite} ${program} --gtest_filter=${suite}.*)
  set_tests_properties(${folder}.${suite} PROPERTIES ${properties})
endforeach()
