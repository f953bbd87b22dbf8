-- list_places: places of a dead node, or some of them.
local function some(kind)
  local names = call('SRANDMEMBER', key .. kind, DEAD_NODE_PORTION)
  for place, name in ipairs(names) do names[place] = cjson.encode(name) end
  return '[' .. table.concat(names, ',') .. ']'
end
return '{"r":' .. some(':rooms') .. ',"u":' .. some(':users') .. '}'
