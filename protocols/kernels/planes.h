// Included inside each vector level's namespace: the sum of selected table entries, by the table's width in bytes.

FN u64 sum_selected(const u64* words, const Table& table, size_t from, size_t count) {
  switch (table.planes) {
    case 0: return sum_planes<0>(words, table, from, count);
    case 1: return sum_planes<1>(words, table, from, count);
    case 2: return sum_planes<2>(words, table, from, count);
    case 3: return sum_planes<3>(words, table, from, count);
    case 4: return sum_planes<4>(words, table, from, count);
    case 5: return sum_planes<5>(words, table, from, count);
    case 6: return sum_planes<6>(words, table, from, count);
    case 7: return sum_planes<7>(words, table, from, count);
    default: return sum_planes<8>(words, table, from, count);
  }
}
