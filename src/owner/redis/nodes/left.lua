-- left: some of what a dead node has left behind.
-- ARGV: 4 how many names at the most.
local function some(kind)
  local names = call('SRANDMEMBER', K .. kind, ARGV[4])
  for place, name in ipairs(names) do names[place] = cjson.encode(name) end
  return '[' .. table.concat(names, ',') .. ']'
end
return '{"r":' .. some(':rooms') .. ',"u":' .. some(':users') .. '}'
